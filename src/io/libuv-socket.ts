/**
 * A socket of the libuv engine: a net.Socket that reads into one buffer, always the same, and stops
 * reading while there is something in it that nobody has asked for; the kernel's window does the
 * rest. One receive and one send may be under way.
 */
import assert from 'node:assert'
import net from 'node:net'
import { constants } from 'node:os'
import type { EngineSocket, Gather, Operation } from './engine.ts'
import { IovecGather } from './gather.ts'
import type { Memory } from './memory.ts'

const { ECANCELED, EIO, EPIPE } = constants.errno

/** Bytes that are taken in before anybody asks. */
const READ_AHEAD = 256 * 1024

/** `onread` is there since Node 12, but not in the type. */
type SocketOptions = net.SocketConstructorOpts & { readonly onread: net.OnReadOpts }

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
  /** What has arrived and was not asked for yet: from `bufferStart` to `bufferEnd`. */
  readonly #buffer = Buffer.allocUnsafeSlow(READ_AHEAD)
  #bufferStart = 0
  #bufferEnd = 0
  #isStopped = false
  /** Nothing more will come: 0 at the end of the stream, or the negative errno that ended it. */
  #end: number | undefined
  #isClosing = false

  constructor(fd: number, forget: () => void) {
    const onread: net.OnReadOpts = { buffer: this.#buffer, callback: this.#arrived }
    const options: SocketOptions = { fd, allowHalfOpen: true, onread }
    this.#socket = new net.Socket(options)
    this.#closed = new Promise<void>(resolve => {
      this.#socket.once('close', () => {
        this.#end ??= 0
        this.#fill()
        forget()
        resolve()
      })
    })
    this.#socket.on('end', () => {
      this.#end ??= 0
      this.#fill()
    })
    this.#socket.on('error', error => {
      this.#end = errnoOf(error)
      this.#fill()
    })
    this.#socket.resume()
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

  readonly #arrived = (count: number): boolean => {
    this.#bufferStart = 0
    this.#bufferEnd = count
    this.#fill()
    this.#isStopped = this.#bufferStart < this.#bufferEnd
    return !this.#isStopped
  }

  /** Moves what has arrived into the receive under way, and settles it when it is complete. */
  readonly #fill = (): void => {
    if (!this.#recv) return
    const taken = Math.min(this.#bufferEnd - this.#bufferStart, this.#length - this.#done)
    const from = this.#bufferStart
    this.#buffer.copy(this.#memory!.bytes, this.#at + this.#done, from, from + taken)
    this.#done += taken
    this.#bufferStart += taken
    if (this.#isStopped && this.#bufferStart === this.#bufferEnd) {
      this.#isStopped = false
      this.#socket.resume()
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
