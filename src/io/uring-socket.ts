/**
 * A socket of the uring engine. One receive and one send may be under way; both are ordinary
 * flights that point back here. The fd is blocking: with O_NONBLOCK io_uring answers EAGAIN instead
 * of waiting. Closing shuts the socket down, which ends what waits on it, and closes the fd once
 * the kernel has let go of it. No cancellation by tag is used: a tag that was reused meanwhile
 * would cancel somebody else's write.
 */
import assert from 'node:assert'
import { constants } from 'node:os'
import type { Dispatcher } from './dispatcher.ts'
import type { EngineSocket, Gather, Operation } from './engine.ts'
import type { Flight } from './flight.ts'
import { IovecGather } from './gather.ts'
import { check, close, setNonBlocking, shutdown } from './libc.ts'
import type { Memory } from './memory.ts'
import { IORING_OP } from './ring.ts'
import { AGAIN, recvOutcome } from './transfer.ts'

const MSG_WAITALL = 0x100
const MSG_NOSIGNAL = 0x4000
const { ECANCELED } = constants.errno

export class UringSocket implements EngineSocket {
  readonly #dispatcher: Dispatcher
  readonly #fd: number
  readonly #forget: () => void
  #recv: Flight | undefined
  #send: Flight | undefined
  #gather: IovecGather | undefined
  #closing: Promise<void> | undefined
  #drained: (() => void) | undefined

  constructor(dispatcher: Dispatcher, fd: number, forget: () => void) {
    check(setNonBlocking(fd, false), 'fcntl')
    this.#dispatcher = dispatcher
    this.#forget = forget
    this.#fd = fd
  }

  get isReceiving(): boolean {
    return this.#recv !== undefined
  }

  recv(memory: Memory, at: number, length: number, all: boolean, operation: Operation): void {
    assert(!this.#recv, 'socket: a receive is under way')
    assert(at >= 0 && length > 0 && at + length <= memory.bytes.length, 'recv: outside its memory')
    const flight = this.#dispatcher.claim(operation)
    flight.opcode = IORING_OP.RECV
    flight.fd = this.#fd
    flight.address = memory.address + at
    flight.length = length
    flight.flags = all ? MSG_WAITALL : 0
    flight.socket = this
    this.#recv = flight
    if (this.#closing) this.#dispatcher.settleSoon(flight, -ECANCELED)
    else this.#dispatcher.submit(flight)
  }

  send(gather: Gather, operation: Operation): void {
    assert(!this.#send, 'socket: a send is under way')
    assert(gather instanceof IovecGather && gather.length > 0, 'send: a gather with bytes in it')
    gather.start()
    this.#gather = gather
    const flight = this.#dispatcher.claim(operation)
    flight.opcode = IORING_OP.SENDMSG
    flight.fd = this.#fd
    flight.address = gather.address
    flight.length = gather.length
    flight.flags = MSG_WAITALL | MSG_NOSIGNAL
    flight.socket = this
    this.#send = flight
    if (this.#closing) this.#dispatcher.settleSoon(flight, -ECANCELED)
    else this.#dispatcher.submit(flight)
  }

  /** The kernel answered `result` to a flight of this socket: AGAIN, or what to settle with. */
  outcome(flight: Flight, result: number): number {
    if (flight === this.#recv) {
      if (this.#closing && result <= 0) return -ECANCELED
      const all = (flight.flags & MSG_WAITALL) !== 0
      const outcome = recvOutcome(result, flight.done, flight.length, all)
      return outcome === AGAIN && this.#closing ? -ECANCELED : outcome
    }
    const sent = flight.done + Math.max(result, 0)
    if (sent === flight.length) return sent
    if (this.#closing) return -ECANCELED
    if (result < 0) return result
    this.#gather!.advance(result)
    return AGAIN
  }

  /**
   * The flight is over; called just before it settles, so that the settled operation may start the
   * next.
   */
  finished(flight: Flight): void {
    if (flight === this.#recv) {
      this.#recv = undefined
    } else {
      this.#send = undefined
      this.#gather = undefined
    }
    if (!this.#recv && !this.#send) this.#drained?.()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // Of no interest if the peer is gone already: then nothing waits either.
    shutdown(this.#fd)
    if (this.#recv || this.#send) {
      const { promise, resolve } = withResolvers()
      this.#drained = resolve
      await promise
    }
    this.#forget()
    check(close(this.#fd), 'close')
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>(settled => {
    resolve = settled
  })
  return { promise, resolve }
}
