/**
 * A whole server of one device in this process, as `proxy` puts it together but without its two
 * threads: a real listener, the real handshake, a real engine. And a client that says exactly what
 * a test tells it to, right or wrong.
 */
import { once } from 'node:events'
import net from 'node:net'
import { NbdClient, openSession, type SessionOptions } from 'nbd-client-ts'
import type { BlockDevice } from '../../src/block/device.ts'
import { Arena, type SlotClass } from '../../src/io/arena.ts'
import type { Engine, EngineName } from '../../src/io/engine.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { Counters } from '../../src/nbd/counters.ts'
import { exportInfo } from '../../src/nbd/export-info.ts'
import { type NegotiationOptions, negotiate } from '../../src/nbd/negotiation.ts'
import { Transmission } from '../../src/nbd/transmission.ts'
import type { TlsKeys } from '../../src/tls/tls-context.ts'
import { type Temporary, temporary } from '../support/temporary.ts'
import { RawClient } from './raw-client.ts'

const KIB = 1024
const SLOT_CLASSES = [
  { payload: 4 * KIB, count: 64 },
  { payload: 256 * KIB, count: 16 },
  { payload: 32 * KIB * KIB, count: 2 },
]

export interface TestServerOptions {
  readonly slots?: readonly SlotClass[]
  readonly tlsKeys?: TlsKeys
  readonly tcp?: boolean
}

export class TestServer implements AsyncDisposable {
  readonly engine: Engine
  readonly arena: Arena
  readonly counters = new Counters()
  readonly transmission: Transmission
  /** Why clients were turned away, and why others have gone, in order. */
  readonly refusals: string[] = []
  readonly departures: string[] = []
  #device: BlockDevice
  #folder: Temporary
  #listener: net.Server
  #isStopped = false

  private constructor(
    engine: Engine,
    device: BlockDevice,
    folder: Temporary,
    { slots = SLOT_CLASSES, tlsKeys }: TestServerOptions,
  ) {
    this.engine = engine
    this.arena = new Arena(slots)
    this.transmission = new Transmission(engine, device, this.arena, this.counters)
    this.#device = device
    this.#folder = folder
    const exports = new Map([['', exportInfo(device.info, 'a disk')]])
    const options = { exports, defaultExport: '', tlsKeys }
    this.#listener = net.createServer({ noDelay: true }, socket => {
      this.#serve(socket, options).catch((error: Error) => this.refusals.push(error.message))
    })
  }

  /** Serves `device`, whose it is from now on. */
  static async open(
    engineName: EngineName,
    device: BlockDevice,
    options: TestServerOptions = {},
  ): Promise<TestServer> {
    const { engine } = openEngine(engineName)
    const server = new TestServer(engine, device, await temporary(), options)
    server.#listener.listen(options.tcp ? { port: 0, host: '127.0.0.1' } : server.path)
    await once(server.#listener, 'listening')
    return server
  }

  get path(): string {
    return this.#folder.file('server')
  }

  /** A connection on which nothing has been said yet. */
  async dial(options: { allowHalfOpen?: boolean } = {}): Promise<net.Socket> {
    const address = this.#listener.address()
    const where =
      typeof address === 'string' || address === null
        ? { path: this.path }
        : { port: address.port, host: '127.0.0.1' }
    const socket = net.connect({ ...where, ...options })
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }

  /** Both ends of a connection of which the server knows nothing. */
  async acceptAlone(): Promise<[net.Socket, net.Socket]> {
    const listener = net.createServer()
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const { port } = listener.address() as net.AddressInfo
    const theirs = net.connect(port, '127.0.0.1')
    const [ours] = (await once(listener, 'connection')) as [net.Socket]
    listener.close()
    return [ours, theirs]
  }

  async client(): Promise<NbdClient> {
    return await NbdClient.connect(await this.dial())
  }

  /** A client in the transmission phase that a test speaks for. */
  async raw(options: SessionOptions & { allowHalfOpen?: boolean } = {}): Promise<RawClient> {
    const socket = await this.dial(options)
    const { leftover } = await openSession(socket, options)
    // The session's listeners have gone, which Node takes notice of later; pause() holds from then.
    await new Promise(setImmediate)
    return new RawClient(socket, options.structuredReplies ?? true, leftover)
  }

  /** Ends the serving; the device and the engine stay for a look. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopped = true
    this.#listener.close()
    await this.transmission.stop(deadlineMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isStopped) await this.stop(0)
    await this.#device.close()
    // Fails if a slot has not come back.
    this.arena.close()
    await this.engine.close()
    await this.#folder[Symbol.asyncDispose]()
  }

  async #serve(socket: net.Socket, options: NegotiationOptions): Promise<void> {
    const negotiated = await negotiate(socket, options)
    if (negotiated === undefined) return
    const { fd, tls, acknowledgement, leftover, result } = negotiated
    const { structuredReplies, contexts } = result
    const contextId = contexts[0]?.id ?? 0
    this.transmission.attach({
      fd,
      tls,
      acknowledgement,
      leftover,
      structuredReplies,
      contextId,
      closed: reason => this.departures.push(reason),
    })
  }
}
