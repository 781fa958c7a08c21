/**
 * The asking side of a control socket. Calls may overlap; replies find theirs by id. Every call has
 * a timeout, and a reply that comes after it is dropped. What breaks the protocol ends the
 * connection and fails all calls under way with the same error; the socket belongs to this object.
 */
import type { Duplex } from 'node:stream'
import { ControlError } from './control-error.ts'
import { encodeFrame, FrameDecoder } from './framing.ts'
import { CONTROL_VERSION, checkReply, type Reply, type Verbs } from './messages.ts'
import {
  checkParamsOf,
  checkResultOf,
  type NameOf,
  type VerbTable,
  type VerbTypes,
} from './verb-table.ts'

interface Call {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: ControlError) => void
  readonly timer: NodeJS.Timeout
}

export class ControlClient<V extends VerbTypes<V> = Verbs> {
  readonly #socket: Duplex
  readonly #table: VerbTable<V>
  readonly #decoder = new FrameDecoder()
  readonly #calls = new Map<number, Call>()
  #idNext = 1
  #ended: ControlError | undefined

  /** Takes over a connected socket; `connectControl` is the way to get one. */
  constructor(socket: Duplex, table: VerbTable<V>) {
    this.#socket = socket
    this.#table = table
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', error => this.#end(closed('broke', error)))
    socket.on('close', () => this.#end(closed('was closed by the other side')))
  }

  /**
   * Asks and waits. Rejects with `ControlError`: malformed for parameters that are wrong here
   * already, refused with the other side's code and sentence, timeout, closed, version.
   */
  async call<N extends NameOf<V>>(
    verb: N,
    params: V[N]['params'],
    { timeoutMs }: { readonly timeoutMs: number },
  ): Promise<V[N]['result']> {
    const checked = checkParamsOf(this.#table, verb, params)
    if (this.#ended !== undefined) throw this.#ended
    const id = this.#idNext
    this.#idNext += 1
    const frame = encodeFrame({ version: CONTROL_VERSION, id, verb, params: checked })
    const result = await new Promise<unknown>((resolve, reject) => {
      const expired = () => {
        this.#calls.delete(id)
        reject(new ControlError('timeout', `no answer to ${verb} within ${timeoutMs} ms`))
      }
      this.#calls.set(id, { resolve, reject, timer: setTimeout(expired, timeoutMs) })
      this.#socket.write(frame)
    })
    return checkResultOf(this.#table, verb, result)
  }

  /** Ends the connection; calls under way reject with closed. */
  close(): void {
    this.#end(closed('is closed'))
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #receive(chunk: Buffer): void {
    try {
      for (const message of this.#decoder.feed(chunk)) {
        if (this.#ended === undefined) this.#settle(checkReply(message))
      }
    } catch (error) {
      if (!(error instanceof ControlError)) throw error
      this.#end(error)
    }
  }

  #settle(reply: Reply): void {
    const { error } = reply
    const failure = error && ControlError.refuse(error.code, error.message)
    if (reply.id === 0 && failure !== undefined) {
      this.#end(failure)
      return
    }
    if (reply.id === 0 || reply.id >= this.#idNext) {
      throw new ControlError('malformed', `reply ${reply.id} answers nothing that was asked`)
    }
    const call = this.#calls.get(reply.id)
    if (call === undefined) return
    this.#calls.delete(reply.id)
    clearTimeout(call.timer)
    if (failure !== undefined) call.reject(failure)
    else call.resolve(reply.result)
  }

  #end(reason: ControlError): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#socket.destroy()
    for (const call of this.#calls.values()) {
      clearTimeout(call.timer)
      call.reject(reason)
    }
    this.#calls.clear()
  }
}

function closed(how: string, cause?: unknown): ControlError {
  return new ControlError('closed', `the control connection ${how}`, { cause })
}
