/** A remote device and a scripted server, joined by a socket pair. */
import type { MemorySource } from '../../src/block/facade.ts'
import { openRemote, type RemoteDevice } from '../../src/block/remote.ts'
import type { RemoteInfo, RemoteOptions } from '../../src/block/remote-info.ts'
import type { EngineName } from '../../src/io/engine.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { MAPPED_MEMORY } from './mapped-memory.ts'
import { ScriptedServer } from './scripted-server.ts'

export interface RemotePair extends AsyncDisposable {
  readonly device: RemoteDevice
  readonly server: ScriptedServer
  readonly source: MemorySource
  /** Why the connection was lost, once for each time that we were told. */
  readonly reasons: string[]
  /** Settles when the connection is lost. */
  readonly lost: Promise<void>
}

/** Everything is offered, unless `info` says otherwise. */
export function openRemotePair(
  engineName: EngineName,
  info: Partial<RemoteInfo> = {},
  options: Partial<RemoteOptions> = {},
): RemotePair {
  const { engine } = openEngine(engineName)
  const server = new ScriptedServer()
  const reasons: string[] = []
  let tell = (): void => {}
  const lost = new Promise<void>(resolve => {
    tell = resolve
  })
  const device = openRemote({
    engine,
    fd: server.fd,
    info: {
      size: 1024 * 1024 * 1024 * 1024,
      transmissionFlags: 0xffff & ~2,
      blockSize: { minimum: 512, maximum: 65536 },
      structuredReplies: true,
      contextId: 0,
      ...info,
    },
    requestTimeoutMs: 5000,
    onLost: reason => {
      reasons.push(reason)
      tell()
    },
    ...options,
  })
  const dispose = async (): Promise<void> => {
    await server.hangUp()
    await device.close()
    await engine.close()
  }
  const source = MAPPED_MEMORY
  return { device, server, source, reasons, lost, [Symbol.asyncDispose]: dispose }
}
