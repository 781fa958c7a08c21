/** QEMU's monitor for people, over its unix socket: one command, one answer, one connection. */
import { createConnection } from 'node:net'

const PROMPT = '(qemu) '

/** Throws an Error when QEMU does not answer in `timeoutMs`, or says that it failed. */
export function monitor(path: string, command: string, timeoutMs = 60_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path)
    let text = ''
    let isSent = false
    const end = (error?: Error): void => {
      clearTimeout(timer)
      socket.destroy()
      // The terminal's echo of the command comes first.
      const answer = text.slice(text.indexOf('\n') + 1).trim()
      if (error) reject(error)
      else if (/^Error/m.test(answer)) reject(new Error(`monitor ${command}: ${answer}`))
      else resolve(answer)
    }
    const timer = setTimeout(
      () => end(new Error(`monitor ${command}: no answer in ${timeoutMs} ms`)),
      timeoutMs,
    )
    socket.setEncoding('utf8')
    socket.on('error', end)
    socket.on('close', () => end(new Error(`monitor ${command}: QEMU has ended`)))
    socket.on('data', (piece: string) => {
      text += piece
      if (!text.endsWith(PROMPT)) return
      if (isSent) {
        text = text.slice(0, -PROMPT.length)
        end()
        return
      }
      isSent = true
      text = ''
      socket.write(`${command}\n`)
    })
  })
}
