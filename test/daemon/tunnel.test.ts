/** A migration whose disks go through ssh, played by a program that forwards one port. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DISK, TwoHosts } from './two-hosts.ts'

const MS_MAX = 60_000

/** Processes with this text on their command lines. */
function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
      } catch {
        return false
      }
    })
    .map(Number)
}

test(
  'disks go through a tunnel that is made anew when it dies, and is gone at the end',
  async () => {
    await using hosts = await TwoHosts.start()
    const params = { isTunnelled: true, bandwidth: 2 * 1024 * 1024 }
    const { session } = await hosts.migrate(params)
    const socket = join(hosts.source.runFolder, 'sessions', session, 'tunnel-0')
    await hosts.until(session, ({ phase }) => phase !== 'setup')
    const [first] = processesWith(socket)
    expect(first).toBeDefined()
    process.kill(first!, 'SIGKILL')
    const status = await hosts.ended(session)
    expect(status).toMatchObject({ phase: 'completed', outcome: 'destination-owns', error: null })
    await hosts.writer.stop()
    expect(await hosts.writer.missingIn(hosts.destination.diskFile(DISK))).toEqual([])
    expect(processesWith(socket)).toEqual([])
    expect(existsSync(socket)).toBe(false)
  },
  MS_MAX,
)

test(
  'a host that forwards nothing is refused with what ssh says, and the guest stays',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.source.script('no-forward', '')
    const { session } = await hosts.migrate({ isTunnelled: true })
    const status = await hosts.ended(session)
    expect(status).toMatchObject({ phase: 'failed', outcome: 'source-owns' })
    expect(status.error).toContain('administratively prohibited')
    expect(status.error).toContain('leave out --tunnel')
  },
  MS_MAX,
)
