/**
 * The server's half that moves data: every connection in the transmission phase over one device.
 * Lives in the data thread and owns the requests, the slots and the sockets. The handshake happened
 * elsewhere; its last bytes are sent from here, so that nothing the client sends afterwards can end
 * up in the other thread.
 *
 * Invariant: a new connection is served only when those whose peer has gone are finished. A late
 * write of a dead client after a newer acknowledged one would be corruption.
 */
import type { BlockDevice } from '../block/device.ts'
import type { Arena } from '../io/arena.ts'
import type { Timer } from '../io/clock.ts'
import type { Engine, EngineSocket, Operation, Task } from '../io/engine.ts'
import { peerHasClosed } from '../io/libc.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import { openStream, type StreamHandle } from '../tls/tls-socket.ts'
import { Connection, type ConnectionOptions, type ConnectionOwner } from './connection.ts'
import { type Counters, countRequest } from './counters.ts'
import { type ServerRequest, ServerRequestPool } from './server-request.ts'

/** Requests that all connections together may have under way. */
export const REQUESTS_MAX = 512
/**
 * How long those of dead peers may hold a new client up by anything but requests under way: taking
 * no replies, or having sent more than there is room for (milliseconds).
 */
export const DEAD_GRACE_MS = 1000
/** Longest final acknowledgement of a handshake (bytes). */
const ACKNOWLEDGEMENT_MAX = 64 * 1024

/** A connected stream socket, ours from now on, and what belongs to it. */
export interface Handover extends ConnectionOptions, StreamHandle {
  /** The last bytes of the handshake. */
  readonly acknowledgement: Uint8Array
  /** Bytes the client sent behind its last option. */
  readonly leftover: Uint8Array
  /** Called once, when all of it is finished. */
  readonly closed: (reason: string) => void
}

interface Client {
  readonly fd: number
  readonly connection: Connection
  readonly handover: Handover
  /** Connections of dead peers that must be finished before this one is served. */
  readonly waitsFor: Set<Client>
}

export class Transmission implements ConnectionOwner, Task {
  readonly pool: ServerRequestPool
  readonly #engine: Engine
  readonly #device: BlockDevice
  readonly #counters: Counters
  readonly #clients = new Map<Connection, Client>()
  /** Connections that wait for requests or slots, the longest waiting first. */
  #blocked: Connection[] = []
  #isWakeScheduled = false
  /** Clients that wait until those of dead peers are finished. */
  #waiting: { client: Client; socket: EngineSocket }[] = []
  readonly #deadGrace: Timer
  #isStopping = false
  #stopped: (() => void) | undefined

  constructor(engine: Engine, device: BlockDevice, arena: Arena, counters: Counters) {
    this.#engine = engine
    this.#device = device
    this.#counters = counters
    this.pool = new ServerRequestPool(REQUESTS_MAX, arena, () => this.#scheduleWake())
    this.#deadGrace = engine.createTimer(() => this.#abortDead())
  }

  /**
   * Takes a client over from the handshake. Throws, the socket being closed, when there is no
   * memory for it.
   */
  attach(handover: Handover): void {
    const socket = openStream(this.#engine, handover)
    let connection: Connection
    try {
      connection = new Connection(this.#engine, socket, this.#device, this, handover)
    } catch (error) {
      void socket.close()
      throw error
    }
    const dead = [...this.#clients.values()].filter(isDead)
    const client = { fd: handover.fd, connection, handover, waitsFor: new Set(dead) }
    this.#clients.set(connection, client)
    this.#counters.add('connections', 1)
    if (this.#isStopping) {
      connection.abort('the server is stopping')
    } else if (dead.length === 0) {
      this.#begin(client, socket)
    } else {
      if (this.#waiting.length === 0) this.#deadGrace.arm(DEAD_GRACE_MS)
      this.#waiting.push({ client, socket })
    }
  }

  /**
   * Finishes what is under way, takes nothing new and closes every connection; those that are not
   * done after `deadlineMs` lose their answers, at once if it is 0. The device is left open.
   */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true
    if (this.#clients.size === 0) return
    const stopped = new Promise<void>(resolve => {
      this.#stopped = resolve
    })
    const reason = 'the server stopped'
    const abort = () => {
      for (const connection of this.#clients.keys()) connection.abort(reason)
    }
    const timer = this.#engine.createTimer(abort)
    if (deadlineMs === 0) {
      abort()
    } else {
      timer.arm(deadlineMs)
      for (const connection of this.#clients.keys()) connection.finish(reason)
    }
    await stopped
    timer.disarm()
  }

  blocked(connection: Connection): void {
    this.#blocked.push(connection)
  }

  count(request: ServerRequest): void {
    countRequest(this.#counters, request)
  }

  closed(connection: Connection, reason: string): void {
    const client = this.#clients.get(connection)!
    this.#clients.delete(connection)
    this.#counters.add('connections', -1)
    client.handover.closed(reason)
    for (const other of this.#clients.values()) other.waitsFor.delete(client)
    const waiting = this.#waiting
    this.#waiting = []
    for (const entry of waiting) {
      // One that is itself closed meanwhile is not served.
      if (entry.client === client || this.#isStopping) continue
      if (entry.client.waitsFor.size > 0) this.#waiting.push(entry)
      else this.#begin(entry.client, entry.socket)
    }
    if (this.#waiting.length === 0) this.#deadGrace.disarm()
    if (this.#clients.size === 0) this.#stopped?.()
  }

  /**
   * Something has come back. Everybody who waits may try, since it may be of no use to the first;
   * in one go at the end of the turn, and not inside somebody's completion.
   */
  #scheduleWake(): void {
    if (this.#isWakeScheduled || this.#blocked.length === 0) return
    this.#isWakeScheduled = true
    this.#engine.atTurnEnd(this)
  }

  run(): void {
    this.#isWakeScheduled = false
    const blocked = this.#blocked
    this.#blocked = []
    for (const connection of blocked) connection.unblock()
  }

  #abortDead(): void {
    const dead = new Set(this.#waiting.flatMap(({ client }) => [...client.waitsFor]))
    for (const { connection } of dead) connection.abort('peer is gone')
  }

  #begin({ connection, handover }: Client, socket: EngineSocket): void {
    if (handover.acknowledgement.length === 0) {
      connection.start(handover.leftover)
      return
    }
    const operation = new Acknowledgement(handover, connection)
    const gather = this.#engine.createGather(1)
    gather.push(operation.memory, 0, handover.acknowledgement.length)
    socket.send(gather, operation)
  }
}

/** Whether nobody waits for its answers any more: what it has written must not come late. */
function isDead({ connection, fd }: Client): boolean {
  return connection.isAborted || peerHasClosed(fd)
}

/** Sends the end of the handshake, then lets the connection begin. */
class Acknowledgement implements Operation {
  readonly memory: Memory
  readonly #handover: Handover
  readonly #connection: Connection

  constructor(handover: Handover, connection: Connection) {
    if (handover.acknowledgement.length > ACKNOWLEDGEMENT_MAX)
      throw new Error('acknowledgement is too long')
    this.memory = mapAnonymous(ACKNOWLEDGEMENT_MAX)
    this.memory.bytes.set(handover.acknowledgement)
    this.#handover = handover
    this.#connection = connection
  }

  settle(result: number): void {
    unmap(this.memory)
    if (result < 0) this.#connection.abort('peer is gone')
    else this.#connection.start(this.#handover.leftover)
  }
}
