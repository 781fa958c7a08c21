/**
 * A socket that encrypts: an EngineSocket over another one. What is sent is packed into full
 * records, encrypted into a ring and sent from there; what is received into the other ring is
 * decrypted to where it is wanted. A ringful is done at a time, so that nothing else in the thread
 * waits for longer than that takes.
 *
 * The end of the stream without TLS's own good-bye is an end like any other: in NBD it is as
 * meaningful as an end in between, and either drops the connection.
 */
import assert from 'node:assert'
import { constants } from 'node:os'
import type { Engine, EngineSocket, Gather, Operation, Task } from '../io/engine.ts'
import { IovecGather } from '../io/gather.ts'
import { close, sendNow } from '../io/libc.ts'
import type { Memory } from '../io/memory.ts'
import { RecordPacker } from './record-packer.ts'
import { TLS_END, TLS_WANTS_INPUT, TlsConnection, type TlsHandle } from './tls-connection.ts'

const { ECANCELED, EPIPE } = constants.errno

const NOTHING: Task = { run() {} }

/** A connected stream socket behind its handshake, plain or not. */
export interface StreamHandle {
  readonly fd: number
  readonly tls?: TlsHandle | undefined
}

/** Takes over what the handshake left; closing the socket frees all of it, as failing does. */
export function openStream(engine: Engine, handle: StreamHandle): EngineSocket {
  const { fd, tls } = handle
  try {
    return tls === undefined ? engine.openSocket(fd) : new TlsSocket(engine, fd, tls)
  } catch (error) {
    closeStream(handle)
    throw error
  }
}

/** Frees what nobody has opened. */
export function closeStream({ fd, tls }: StreamHandle): void {
  if (tls !== undefined) TlsConnection.adopt(tls).free()
  close(fd)
}

export class TlsSocket implements EngineSocket, Task {
  readonly #engine: Engine
  readonly #fd: number
  readonly #socket: EngineSocket
  readonly #tls: TlsConnection

  readonly #input: Memory
  readonly #inputCame: Operation = { settle: result => this.#received(result) }
  #recv: Operation | undefined
  #memory: Memory | undefined
  #at = 0
  #length = 0
  #isAll = false
  #done = 0
  /** There may be bytes that need no more input. */
  #hasInput = true
  #isReceiving = false
  #isPulling = false
  /** What every receive settles with from now on. */
  #end: number | undefined

  readonly #output: Memory
  readonly #outputGather: Gather
  readonly #outputLeft: Operation = { settle: result => this.#sent(result) }
  readonly #packer: RecordPacker
  #send: Operation | undefined
  #sendLength = 0
  #isSending = false
  /** What every send settles with from now on. */
  #failure = 0
  /** The socket sends no more; a failure of TLS's own still has its alert to send. */
  #isCutOff = false

  #isScheduled = false
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  constructor(engine: Engine, fd: number, handle: TlsHandle) {
    this.#engine = engine
    this.#fd = fd
    this.#tls = TlsConnection.adopt(handle)
    this.#packer = new RecordPacker(this.#tls)
    this.#input = this.#tls.inputMemory()
    this.#output = this.#tls.outputMemory()
    this.#outputGather = engine.createGather(1)
    this.#socket = engine.openSocket(fd)
  }

  recv(memory: Memory, at: number, length: number, all: boolean, operation: Operation): void {
    assert(!this.#recv, 'socket: a receive is under way')
    assert(at >= 0 && length > 0 && at + length <= memory.bytes.length, 'recv: outside its memory')
    this.#recv = operation
    this.#memory = memory
    this.#at = at
    this.#length = length
    this.#isAll = all
    this.#done = 0
    if (this.#isPulling) return
    const isThere = this.#hasInput || this.#end !== undefined || this.#closing !== undefined
    if (isThere) this.#schedule()
    else this.#receive()
  }

  send(gather: Gather, operation: Operation): void {
    assert(!this.#send, 'socket: a send is under way')
    assert(gather instanceof IovecGather && gather.length > 0, 'send: a gather with bytes in it')
    gather.start()
    this.#send = operation
    if (this.#closing !== undefined) {
      this.#failure = -ECANCELED
      this.#schedule()
      return
    }
    this.#sendLength = gather.length
    this.#packer.start(gather)
    if (this.#failure === 0) this.#encrypt()
    if (this.#failure !== 0) this.#schedule()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** At the end of a turn: what could not be settled inside the call. */
  run(): void {
    this.#isScheduled = false
    if (this.#send !== undefined && this.#failure !== 0 && !this.#isSending) {
      this.#settleSend(this.#failure)
    }
    if (this.#recv !== undefined && !this.#isReceiving) {
      if (this.#closing === undefined) this.#pull()
      else this.#settleRecv(-ECANCELED)
    }
    // What awaits one of these goes on before the engine waits.
    this.#engine.atTurnEnd(NOTHING)
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#engine.atTurnEnd(this)
  }

  // Receiving

  #receive(): void {
    const room = this.#tls.inputRoom()
    assert(room > 0, 'tls: input that nobody decrypts')
    this.#isReceiving = true
    this.#socket.recv(this.#input, this.#tls.inputAt, room, false, this.#inputCame)
  }

  #received(result: number): void {
    this.#isReceiving = false
    if (result > 0) {
      this.#tls.received(result)
      this.#hasInput = true
    } else {
      this.#end ??= result
    }
    this.#pull()
  }

  /**
   * Decrypts as much as is wanted and there; whoever receives on when it has something is served at
   * once.
   */
  #pull(): void {
    this.#isPulling = true
    while (this.#recv !== undefined) {
      this.#decrypt()
      const isEnough = this.#isAll ? this.#done === this.#length : this.#done > 0
      if (isEnough) this.#settleRecv(this.#done)
      else if (this.#end !== undefined) this.#settleRecv(this.#end < 0 ? this.#end : this.#done)
      else if (this.#closing !== undefined) this.#settleRecv(-ECANCELED)
      else break
    }
    this.#isPulling = false
    if (this.#recv !== undefined) this.#receive()
    // The peer may have asked for new keys.
    this.#flush()
  }

  #decrypt(): void {
    while (this.#hasInput && this.#done < this.#length) {
      const address = this.#memory!.address + this.#at + this.#done
      const count = this.#tls.read(address, this.#length - this.#done)
      if (count > 0) {
        this.#done += count
        continue
      }
      this.#hasInput = false
      if (count === TLS_WANTS_INPUT) return
      this.#end = count === TLS_END ? 0 : count
      if (this.#end < 0) this.#failure = -EPIPE
    }
  }

  #settleRecv(result: number): void {
    const operation = this.#recv!
    this.#recv = undefined
    this.#memory = undefined
    operation.settle(result)
    this.#idle?.()
  }

  // Sending

  /** Encrypts as much as there is room for, and sends what there is. */
  #encrypt(): void {
    if (!this.#packer.pack()) this.#failure = -EPIPE
    this.#flush()
  }

  /** Sends what is encrypted, whoever wants it sent. */
  #flush(): void {
    if (this.#isSending || this.#isCutOff || this.#closing !== undefined) return
    const length = this.#tls.outputLength()
    if (length === 0) return
    this.#isSending = true
    this.#outputGather.clear()
    this.#outputGather.push(this.#output, this.#tls.outputAt, length)
    this.#socket.send(this.#outputGather, this.#outputLeft)
  }

  #sent(result: number): void {
    this.#isSending = false
    if (result < 0) {
      this.#failure = result
      this.#isCutOff = true
    } else {
      this.#tls.sent(result)
    }
    if (this.#send === undefined) {
      this.#flush()
      return
    }
    if (this.#failure === 0 && this.#closing === undefined) {
      this.#encrypt()
      if (this.#isSending) return
    }
    // With nothing under way nothing is left to be sent, or it cannot be.
    if (this.#failure !== 0) this.#settleSend(this.#failure)
    else if (this.#packer.isDone && this.#tls.outputLength() === 0)
      this.#settleSend(this.#sendLength)
    else this.#settleSend(-ECANCELED)
  }

  #settleSend(result: number): void {
    const operation = this.#send!
    this.#send = undefined
    operation.settle(result)
    this.#idle?.()
  }

  // The end

  async #close(): Promise<void> {
    if (!this.#isSending && this.#failure === 0 && !this.#isCutOff) this.#sayGoodbye()
    await this.#socket.close()
    while (this.#recv !== undefined || this.#send !== undefined) {
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.#tls.free()
    this.#packer.release()
  }

  /** If it can leave at once: nobody waits for a peer that takes nothing. */
  #sayGoodbye(): void {
    this.#tls.shutdown()
    const length = this.#tls.outputLength()
    if (length > 0) sendNow(this.#fd, this.#output.address + this.#tls.outputAt, length)
  }
}
