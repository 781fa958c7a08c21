/**
 * The verbs of the control socket, answered by asking the data thread. An error of the mirror keeps
 * its code and sentence; anything else is `internal`, a defect.
 */
import { readFileSync } from 'node:fs'
import { ControlError, REMOTE_CODES, type RemoteCode } from '../control/control-error.ts'
import type { ControlHandlers } from '../control/server-connection.ts'
import type { Counters } from '../nbd/counters.ts'
import type { DataCalls, OpenedDisk } from './calls.ts'
import type { DataThread } from './data-thread.ts'
import type { ProxyOptions } from './options.ts'
import { ThreadError } from './thread-link.ts'

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string }

export function controlHandlers(
  data: DataThread,
  counters: Counters,
  options: ProxyOptions,
  disk: OpenedDisk,
): ControlHandlers {
  const startedAt = performance.now()
  const ask = <Name extends keyof DataCalls & string>(
    name: Name,
    argument: Parameters<DataCalls[Name]>[0],
  ) => data.call(name, argument).catch(refuse)
  return {
    status: async () => {
      const { connections, ...requests } = counters.all()
      return {
        version,
        export: options.exportName,
        path: options.path,
        size: disk.info.size,
        readOnly: disk.info.isReadOnly,
        engine: disk.engine,
        direct: disk.isDirect,
        clients: connections,
        uptimeMs: performance.now() - startedAt,
        pid: process.pid,
        requests,
        mirror: await ask('mirrorStatus', undefined),
      }
    },
    'mirror-start': params => ask('mirrorStart', params),
    'mirror-status': async () => {
      const status = await ask('mirrorStatus', undefined)
      if (status !== null) return status
      throw ControlError.refuse('no-mirror', 'there is no mirror: begin one with mirror start')
    },
    'mirror-set': params => ask('mirrorSet', params),
    'mirror-cancel': () => ask('mirrorCancel', undefined),
    'mirror-complete': params => ask('mirrorComplete', params),
    'mirror-resume': () => ask('mirrorResume', undefined),
  }
}

function refuse(error: unknown): never {
  if (error instanceof ThreadError && isRemoteCode(error.code)) {
    throw ControlError.refuse(error.code, error.message, error)
  }
  throw error
}

function isRemoteCode(code: string | undefined): code is RemoteCode {
  return REMOTE_CODES.some(known => known === code)
}
