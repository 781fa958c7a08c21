/** A daemon that answers what a test wants it to, on a real socket. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { listenVerbs } from '../../src/control/channel.ts'
import { ControlError } from '../../src/control/control-error.ts'
import type { ControlHandlers } from '../../src/control/server-connection.ts'
import { verbsOf } from '../../src/control/verb-table.ts'
import type { DaemonVerbs } from '../../src/daemon/messages.ts'
import type { SessionStatus } from '../../src/daemon/session-status.ts'
import { daemonVerbs } from '../../src/daemon/verbs.ts'

export type Handlers = Partial<ControlHandlers<DaemonVerbs>>

/** Runs `use` while a daemon with these handlers answers; `asked` has the verbs, in order. */
export async function withDaemon(
  handlers: Handlers,
  use: (socket: string, asked: string[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'))
  const socket = join(folder, 'sock')
  const asked: string[] = []
  const all = Object.fromEntries(
    verbsOf(daemonVerbs).map(verb => {
      const refuse = () => {
        throw ControlError.refuse('internal', `nobody expected ${verb}`)
      }
      const handle = (handlers[verb] ?? refuse) as (params: unknown, gone: AbortSignal) => unknown
      const ask = (params: unknown, gone: AbortSignal) => {
        asked.push(verb)
        return handle(params, gone)
      }
      return [verb, ask]
    }),
  ) as unknown as ControlHandlers<DaemonVerbs>
  const log = pino({ level: 'silent' })
  const server = await listenVerbs(socket, { table: daemonVerbs, handlers: all, log })
  const before = process.env.BLKFERRY_SOCKET
  process.env.BLKFERRY_SOCKET = socket
  try {
    await use(socket, asked)
  } finally {
    if (before === undefined) delete process.env.BLKFERRY_SOCKET
    else process.env.BLKFERRY_SOCKET = before
    await server.close()
    rmSync(folder, { recursive: true })
  }
}

/** A session half-way through its copy. */
export function sessionSample(changes: Partial<SessionStatus> = {}): SessionStatus {
  return {
    session: '7f3a',
    side: 'source',
    domain: 'web1',
    peer: 'host2',
    phase: 'active',
    isCleaningUp: false,
    outcome: null,
    isCancellable: true,
    error: null,
    elapsedMs: 12_000,
    disks: [
      {
        vdev: 'xvda',
        disk: 'web1-root',
        size: 8 * 1024 ** 3,
        state: 'copying',
        dirtyBytes: 2 * 1024 ** 3,
        copiedBytes: 6 * 1024 ** 3,
        rateBytesPerSecond: 512 * 1024 ** 2,
        dirtyRateBytesPerSecond: 0,
        etaSeconds: 4,
        copyMode: 'background',
        replacements: 0,
        error: null,
      },
    ],
    memory: { state: 'waiting', sentBytes: 0, elapsedMs: 0 },
    downtimeMs: null,
    sealMs: null,
    phases: [
      { phase: 'setup', atMs: 0 },
      { phase: 'active', atMs: 300 },
    ],
    ...changes,
  }
}
