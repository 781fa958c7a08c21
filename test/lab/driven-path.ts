/** A disk path on a host of the lab, without a daemon or a migration around it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Host } from './host.ts'
import { LAB } from './layout.ts'

const PROGRAM = '/lab/disk-path.mjs'
const ANSWER_MS = 300_000

export interface Answer {
  /** How long it took there (ms). */
  readonly ms: number
  readonly result: unknown
}

export class DrivenPath {
  readonly #host: Host
  readonly #command: ReturnType<Host['start']>
  readonly #waiting: ((line: string) => void)[] = []

  private constructor(host: Host, device: string) {
    this.#host = host
    const log = '/var/log/disk-path.log'
    this.#command = host.start(`exec node ${PROGRAM} '${device}' 2>>${log}`)
    createInterface({ input: this.#command.stdout }).on('line', line =>
      this.#waiting.shift()?.(line),
    )
  }

  static async open(host: Host, device: string): Promise<DrivenPath> {
    await host.write(PROGRAM, readFileSync(join(LAB, 'disk-path.mjs'), 'utf8'))
    return new DrivenPath(host, device)
  }

  /** Throws with the words of the error there. */
  async ask(words: string): Promise<Answer> {
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${words}`)), ANSWER_MS)
      this.#waiting.push(answer => {
        clearTimeout(timer)
        resolve(answer)
      })
      this.#command.stdin.write(`${words}\n`)
    })
    const answer = JSON.parse(line) as Partial<Answer> & { error?: string }
    if (answer.error !== undefined) throw new Error(`${words}: ${answer.error}`)
    return { ms: answer.ms ?? 0, result: answer.result }
  }

  /** Throws if the event that follows is another. */
  async signal(name: string, expected: 'replaced' | 'lost'): Promise<void> {
    const { result } = await this.ask(`signal ${name}`)
    const { event, reason } = result as { event: string; reason: string }
    if (event !== expected) throw new Error(`after ${name} the proxy is ${event}: ${reason}`)
  }

  /** As a crash would end it: nothing is undone. */
  async crash(): Promise<void> {
    await this.#host.run(`pkill -9 -o -f 'node ${PROGRAM}'`)
  }

  /** Throws if anything of the path is still there. */
  async expectNothingLeft(): Promise<void> {
    const { result } = await this.ask('left')
    const { devices, files } = result as { devices: string[]; files: string[] }
    if (devices.length + files.length === 0) return
    throw new Error(`left over: ${[...devices, ...files].join(', ')}`)
  }

  close(): void {
    this.#command.stdin.end()
  }
}
