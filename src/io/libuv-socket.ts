/**
 * A socket of the libuv engine: a net.Socket read in paused mode, so that the stream takes in no
 * more than its high water mark ahead of what was asked for, and the kernel's window does the rest.
 * One receive and one send may be under way.
 */
import assert from 'node:assert'
import net from 'node:net'
import { constants } from 'node:os'
import type { EngineSocket, Gather, Operation } from './engine.ts'
import { IovecGather } from './gather.ts'
import type { Memory } from './memory.ts'

const { ECANCELED, EIO, EPIPE } = constants.errno

/** Bytes that a stream takes in before anybody asks. */
const READ_AHEAD = 256 * 1024

/** The negative errno of an error from node:fs or node:net. */
export function errnoOf(error: NodeJS.ErrnoException): number {
  if (error.code === 'ERR_STREAM_DESTROYED') return -EPIPE
  return error.errno !== undefined && error.errno < 0 ? error.errno : -EIO
}

export class LibuvSocket implements EngineSocket {
  readonly #socket: net.Socket
  readonly #closed: Promise<void>
  #memory: Memory | undefined
  #at = 0
  #length = 0
  #all = false
  #done = 0
  #recv: Operation | undefined
  #send: Operation | undefined
  #sendLength = 0
  /** What the stream gave beyond what was asked for. */
  #remainder: Buffer | undefined
  /** Nothing more will come: 0 at the end of the stream, or the negative errno that ended it. */
  #end: number | undefined
  #isClosing = false

  constructor(fd: number, forget: () => void) {
    const options = { fd, allowHalfOpen: true, readableHighWaterMark: READ_AHEAD }
    this.#socket = new net.Socket(options)
    this.#closed = new Promise<void>(resolve => {
      this.#socket.once('close', () => {
        this.#end ??= 0
        this.#fill()
        forget()
        resolve()
      })
    })
    this.#socket.on('readable', this.#fill)
    this.#socket.on('end', () => {
      this.#end ??= 0
      this.#fill()
    })
    this.#socket.on('error', error => {
      this.#end = errnoOf(error)
      this.#fill()
    })
  }

  recv(memory: Memory, at: number, length: number, all: boolean, operation: Operation): void {
    assert(!this.#recv, 'socket: a receive is under way')
    assert(at >= 0 && length > 0 && at + length <= memory.bytes.length, 'recv: outside its memory')
    this.#memory = memory
    this.#at = at
    this.#length = length
    this.#all = all
    this.#done = 0
    this.#recv = operation
    process.nextTick(this.#fill)
  }

  send(gather: Gather, operation: Operation): void {
    assert(!this.#send, 'socket: a send is under way')
    assert(gather instanceof IovecGather && gather.length > 0, 'send: a gather with bytes in it')
    gather.start()
    this.#send = operation
    this.#sendLength = gather.length
    this.#socket.cork()
    const last = gather.count - 1
    for (let i = 0; i < last; i++) this.#socket.write(gather.view(i))
    this.#socket.write(gather.view(last), this.#sent)
    this.#socket.uncork()
  }

  close(): Promise<void> {
    this.#isClosing = true
    this.#socket.destroy()
    return this.#closed
  }

  readonly #sent = (error: Error | null | undefined): void => {
    const operation = this.#send!
    this.#send = undefined
    // Node reports the writes that a destroyed stream cut off as if they had succeeded.
    if (!error && !this.#socket.destroyed) operation.settle(this.#sendLength)
    else if (this.#isClosing) operation.settle(-ECANCELED)
    else if (this.#end !== undefined && this.#end < 0) operation.settle(this.#end)
    else operation.settle(error ? errnoOf(error) : -EPIPE)
  }

  /** Moves what has arrived into the receive under way, and settles it when it is complete. */
  readonly #fill = (): void => {
    if (!this.#recv) return
    while (this.#done < this.#length) {
      const chunk = this.#remainder ?? (this.#socket.read() as Buffer | null)
      if (chunk === null) break
      const taken = Math.min(chunk.length, this.#length - this.#done)
      chunk.copy(this.#memory!.bytes, this.#at + this.#done, 0, taken)
      this.#done += taken
      this.#remainder = taken < chunk.length ? chunk.subarray(taken) : undefined
    }
    const isComplete = this.#done === this.#length || (this.#done > 0 && !this.#all)
    if (isComplete) this.#settle(this.#done)
    else if (this.#isClosing) this.#settle(-ECANCELED)
    else if (this.#end !== undefined) this.#settle(this.#end < 0 ? this.#end : this.#done)
  }

  #settle(result: number): void {
    const operation = this.#recv!
    this.#recv = undefined
    this.#memory = undefined
    operation.settle(result)
  }
}
