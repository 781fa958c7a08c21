// The client's side of the handshake, without I/O: feed() what arrives, send takeOutput(), look at
// `state`. Options are sent one at a time, each after the final reply to the one before. With TLS
// 'require' nothing but NBD_OPT_STARTTLS is sent in the clear, and a refusal of it ends the
// session: there is no way back to plain text (libnbd CVE-2019-14842). What a server may make us
// hold is bounded by limits.ts.

import { type ClientHandshakeResult, ClientOptions, type ListedExport } from './client-options.ts'
import {
  NBD_CLIENT_MAGIC_HIGH,
  NBD_EXPORT_NAME_PADDING,
  NBD_EXPORT_NAME_REPLY_SIZE,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_GREETING_SIZE,
  NBD_MAGIC_HIGH,
  NBD_MAGIC_LOW,
  NBD_META_BASE_ALLOCATION,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_STARTTLS,
  NBD_OPTION_REPLY_HEADER_SIZE,
  NBD_OPTS_MAGIC_HIGH,
  NBD_OPTS_MAGIC_LOW,
  NBD_REP_ACK,
  NBD_REP_FLAG_ERROR,
  NBD_REP_MAGIC_HIGH,
  NBD_REP_MAGIC_LOW,
} from './constants.ts'
import { NbdError, ProtocolError } from './errors.ts'
import { HandshakeSession, type HandshakeState, isFinalState } from './handshake-session.ts'
import { OPTION_REPLY_LENGTH_MAX } from './limits.ts'
import { encodeOption } from './options.ts'
import { messageSuffix, PayloadWriter } from './payload.ts'

/** 'off' never sends NBD_OPT_STARTTLS; 'require' sends nothing else before TLS is up. */
export type ClientTlsPolicy = 'off' | 'require'

export interface ClientHandshakeOptions {
  /** What for: to use an export, to ask about one, to list all. Default 'go'. */
  readonly goal?: 'go' | 'info' | 'list'
  /** Default '', the server's default export. */
  readonly exportName?: string
  readonly tls: ClientTlsPolicy
  /** Whether to ask for structured replies, which meta contexts need. Default true. */
  readonly structuredReplies?: boolean
  /** Meta contexts to ask for. Default `base:allocation`. */
  readonly contexts?: readonly string[]
}

/** One session's handshake in the client role. */
export class ClientHandshake {
  readonly #session = new HandshakeSession()
  readonly #tls: ClientTlsPolicy
  readonly #options: ClientOptions
  #fixedNewstyle = false
  #noZeroes = false
  /** The option whose reply we wait for. */
  #pending: number | undefined

  constructor(options: ClientHandshakeOptions) {
    this.#tls = options.tls
    this.#options = new ClientOptions({
      goal: options.goal ?? 'go',
      exportName: options.exportName ?? '',
      structuredReplies: options.structuredReplies ?? true,
      contexts: options.contexts ?? [NBD_META_BASE_ALLOCATION],
    })
  }

  get state(): HandshakeState {
    return this.#session.state
  }

  /** Why the state is 'failed': NbdError if the server refused, else ProtocolError. */
  get failure(): ProtocolError | NbdError | undefined {
    return this.#session.failure
  }

  /** What was agreed, in state 'transmission'; what was learned, in 'ended' with goal 'info'. */
  get result(): ClientHandshakeResult | undefined {
    return this.#isSuccess() ? this.#options.result : undefined
  }

  /** The list, in state 'ended' with goal 'list'. */
  get exports(): readonly ListedExport[] | undefined {
    return this.#isSuccess() ? this.#options.exports : undefined
  }

  /** Takes bytes of the server, cut anywhere. Never throws; afterwards look at `state`. */
  feed(bytes: Uint8Array): void {
    if (this.state === 'starting-tls') {
      if (bytes.length > 0) this.#failPlaintext(bytes.length)
      return
    }
    if (this.state === 'ended' || this.state === 'failed') return
    this.#session.input.push(bytes)
    try {
      while (this.#step()) {}
    } catch (error) {
      if (error instanceof ProtocolError) this.#session.fail(error)
      else if (error instanceof NbdError) this.#abort(error)
      else throw error
    }
  }

  /** Removes and returns bytes to send to the server, in order; empty if there are none. */
  takeOutput(): Uint8Array {
    return this.#session.takeOutput()
  }

  /** In state 'transmission': removes and returns server bytes that came after the handshake. */
  takeLeftover(): Uint8Array {
    return this.#session.input.takeAll()
  }

  /** In state 'starting-tls': TLS is up; output follows, feed() gets decrypted bytes. */
  tlsEstablished(): void {
    this.#session.move('haggling')
    this.#sendNext()
  }

  /** Ends the session for a reason of the owner's, such as a timeout. Harmless in any state. */
  close(reason: string): void {
    this.#session.fail(new ProtocolError('handshake', 'completion', reason))
  }

  #isSuccess(): boolean {
    return this.state === 'transmission' || this.state === 'ended'
  }

  /** Consumes one message from the input, if a whole one is there. */
  #step(): boolean {
    if (this.state === 'greeting') return this.#stepGreeting()
    if (this.state !== 'haggling') return false
    return this.#pending === NBD_OPT_EXPORT_NAME ? this.#stepExportName() : this.#stepReply()
  }

  #stepGreeting(): boolean {
    const { input } = this.#session
    if (input.length < NBD_GREETING_SIZE) return false
    const greeting = input.peek(NBD_GREETING_SIZE)
    const magicHigh = greeting.getUint32(8)
    if (greeting.getUint32(0) !== NBD_MAGIC_HIGH || greeting.getUint32(4) !== NBD_MAGIC_LOW) {
      throw new ProtocolError('greeting', 'NBDMAGIC', `0x${greeting.getBigUint64(0).toString(16)}`)
    }
    if (magicHigh !== NBD_OPTS_MAGIC_HIGH || greeting.getUint32(12) !== NBD_OPTS_MAGIC_LOW) {
      const received = magicHigh === NBD_CLIENT_MAGIC_HIGH ? 'oldstyle negotiation' : 'other bytes'
      throw new ProtocolError('greeting', 'newstyle negotiation', received)
    }
    this.#sendClientFlags(greeting.getUint16(16))
    input.drop(NBD_GREETING_SIZE)
    this.#sendNext()
    return true
  }

  #sendClientFlags(serverFlags: number): void {
    this.#fixedNewstyle = (serverFlags & NBD_FLAG_FIXED_NEWSTYLE) !== 0
    this.#noZeroes = (serverFlags & NBD_FLAG_NO_ZEROES) !== 0
    let flags = 0
    if (this.#fixedNewstyle) flags |= NBD_FLAG_C_FIXED_NEWSTYLE
    if (this.#noZeroes) flags |= NBD_FLAG_C_NO_ZEROES
    this.#session.move('client-flags')
    this.#session.send(new PayloadWriter().u32(flags).finish())
    this.#session.move('haggling')
    if (this.#fixedNewstyle) {
      if (this.#tls === 'require') this.#send(NBD_OPT_STARTTLS, new Uint8Array())
    } else if (this.#tls === 'require' || !this.#options.useExportNameOnly()) {
      throw new ProtocolError(
        'handshake flags',
        'NBD_FLAG_FIXED_NEWSTYLE',
        `0x${serverFlags.toString(16)}`,
      )
    }
  }

  #stepExportName(): boolean {
    const { input } = this.#session
    const padding = this.#noZeroes ? 0 : NBD_EXPORT_NAME_PADDING
    if (input.length < NBD_EXPORT_NAME_REPLY_SIZE + padding) return false
    const reply = input.take(NBD_EXPORT_NAME_REPLY_SIZE)
    input.drop(padding)
    this.#options.takeExportNameReply(reply)
    this.#session.move('transmission')
    return false
  }

  #stepReply(): boolean {
    const { input } = this.#session
    if (input.length < NBD_OPTION_REPLY_HEADER_SIZE) return false
    const header = input.peek(NBD_OPTION_REPLY_HEADER_SIZE)
    const option = header.getUint32(8)
    const type = header.getUint32(12)
    const length = header.getUint32(16)
    if (header.getUint32(0) !== NBD_REP_MAGIC_HIGH || header.getUint32(4) !== NBD_REP_MAGIC_LOW) {
      const received = `0x${header.getBigUint64(0).toString(16)}`
      throw new ProtocolError('option reply magic', '0x3e889045565a9', received)
    }
    if (option !== this.#pending) {
      throw new ProtocolError('option reply', `one to option ${this.#pending}`, `to ${option}`)
    }
    if (length > OPTION_REPLY_LENGTH_MAX) {
      const expected = `at most ${OPTION_REPLY_LENGTH_MAX} bytes`
      throw new ProtocolError('option reply length', expected, `${length}`)
    }
    if (input.length < NBD_OPTION_REPLY_HEADER_SIZE + length) return false
    input.drop(NBD_OPTION_REPLY_HEADER_SIZE)
    this.#takeReply(option, type, input.take(length))
    return true
  }

  #takeReply(option: number, type: number, data: Uint8Array): void {
    if (type === NBD_REP_ACK && data.length > 0) {
      throw new ProtocolError('NBD_REP_ACK', 'no data', `${data.length} bytes`)
    }
    if (option === NBD_OPT_STARTTLS) {
      this.#takeTlsReply(type, data)
    } else if (this.#options.takeReply(option, type, data) === 'final') {
      if (this.#options.isTransmission) this.#session.move('transmission')
      else this.#sendNext()
    }
  }

  #takeTlsReply(type: number, data: Uint8Array): void {
    if (type >= NBD_REP_FLAG_ERROR) {
      throw new NbdError(`server refuses TLS${messageSuffix(data)}`, type)
    }
    if (type !== NBD_REP_ACK) {
      throw new ProtocolError('reply to NBD_OPT_STARTTLS', 'NBD_REP_ACK', `type ${type}`)
    }
    // Bytes behind the reply would be taken for part of the encrypted session.
    if (this.#session.input.length > 0) this.#failPlaintext(this.#session.input.length)
    else this.#session.move('starting-tls')
    this.#pending = undefined
  }

  #failPlaintext(length: number): void {
    const received = `${length} bytes in the clear`
    this.#session.fail(new ProtocolError('after NBD_OPT_STARTTLS', 'a TLS handshake', received))
  }

  /** Sends the next option of the plan, or ends the session if there is nothing more to ask. */
  #sendNext(): void {
    if (this.#pending === NBD_OPT_STARTTLS) return
    const next = this.#options.next()
    if (next) {
      this.#send(next.option, next.data)
    } else {
      this.#send(NBD_OPT_ABORT, new Uint8Array())
      this.#session.move('ended')
    }
  }

  #send(option: number, data: Uint8Array): void {
    this.#pending = option
    this.#session.send(encodeOption(option, data))
  }

  /** The server refused: leave politely, as a client must. */
  #abort(error: NbdError): void {
    if (isFinalState(this.state)) return
    if (this.#fixedNewstyle) this.#send(NBD_OPT_ABORT, new Uint8Array())
    this.#session.fail(error)
  }
}
