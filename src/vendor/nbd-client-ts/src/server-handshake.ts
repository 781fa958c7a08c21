// The server's side of the handshake, without I/O: feed() what arrives, send takeOutput(), look at
// `state`. Peer mistakes never throw: the protocol's error reply is queued where there is one, and
// where there is none the state becomes 'failed'. The bytes that complete NBD_OPT_GO or
// NBD_OPT_EXPORT_NAME are kept apart in takeAcknowledgement(), so that a connection can be handed
// to another thread before the client may send its first request.

import {
  NBD_CLIENT_FLAGS_SIZE,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC_HIGH,
  NBD_MAGIC_LOW,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_STARTTLS,
  NBD_OPTION_HEADER_SIZE,
  NBD_OPTS_MAGIC_HIGH,
  NBD_OPTS_MAGIC_LOW,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
} from './constants.ts'
import { type NbdError, ProtocolError } from './errors.ts'
import { HandshakeSession, type HandshakeState, isFinalState } from './handshake-session.ts'
import { OPTION_LENGTH_MAX, OPTION_SKIP_LENGTH_MAX, OPTIONS_PER_SESSION_MAX } from './limits.ts'
import { encodeOptionReply } from './options.ts'
import { encodeText, PayloadWriter } from './payload.ts'
import { type Exports, type ServerHandshakeResult, ServerOptions } from './server-options.ts'

/** NOTLS, SELECTIVETLS and FORCEDTLS of the specification. */
export type ServerTlsPolicy = 'off' | 'optional' | 'required'

export interface ServerHandshakeOptions {
  readonly exports: Exports
  /** Key in `exports` of what a client gets that asks for the empty name; none if absent. */
  readonly defaultExport?: string
  readonly tls: ServerTlsPolicy
}

/** One session's handshake in the server role. */
export class ServerHandshake {
  readonly #session = new HandshakeSession()
  readonly #tls: ServerTlsPolicy
  readonly #options: ServerOptions
  #tlsActive = false
  #shuttingDown = false
  #optionCount = 0
  /** Data of an over-long option still to be thrown away, and the option it belongs to. */
  #skip: { option: number; remaining: number } | undefined

  /** Starts a session: the greeting is ready in takeOutput(). */
  constructor({ exports, defaultExport, tls }: ServerHandshakeOptions) {
    this.#tls = tls
    this.#options = new ServerOptions(exports, defaultExport, (option, type, data) =>
      this.#reply(option, type, data),
    )
    const greeting = new PayloadWriter().u32(NBD_MAGIC_HIGH).u32(NBD_MAGIC_LOW)
    greeting.u32(NBD_OPTS_MAGIC_HIGH).u32(NBD_OPTS_MAGIC_LOW)
    greeting.u16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
    this.#session.send(greeting.finish())
    this.#session.move('client-flags')
  }

  get state(): HandshakeState {
    return this.#session.state
  }

  /** Why the state is 'failed'. */
  get failure(): ProtocolError | NbdError | undefined {
    return this.#session.failure
  }

  /** What was agreed; there in state 'transmission' only. */
  get result(): ServerHandshakeResult | undefined {
    return this.state === 'transmission' ? this.#options.chosen?.result : undefined
  }

  /** Takes bytes of the client, cut anywhere. Never throws; afterwards look at `state`. */
  feed(bytes: Uint8Array): void {
    if (this.state === 'starting-tls') {
      if (bytes.length > 0) this.#failPlaintext(bytes.length)
      return
    }
    if (this.state === 'ended' || this.state === 'failed') return
    this.#session.input.push(bytes)
    while (this.#step()) {}
  }

  /** Removes and returns bytes to send to the client, in order; empty if there are none. */
  takeOutput(): Uint8Array {
    return this.#session.takeOutput()
  }

  /**
   * In state 'transmission': removes and returns the bytes that let the client into the
   * transmission phase. They follow everything from takeOutput(), and replies follow them.
   */
  takeAcknowledgement(): Uint8Array {
    const acknowledgement = this.#options.chosen?.acknowledgement ?? new Uint8Array()
    if (this.#options.chosen) this.#options.chosen.acknowledgement = new Uint8Array()
    return acknowledgement
  }

  /** In state 'transmission': removes and returns client bytes that came after the handshake. */
  takeLeftover(): Uint8Array {
    return this.#session.input.takeAll()
  }

  /** In state 'starting-tls': TLS is up, feed() gets decrypted bytes from now on. */
  tlsEstablished(): void {
    this.#session.move('haggling')
    this.#tlsActive = true
    // Nothing said in the clear counts (nbdkit CVE-2021-3716).
    this.#options.forget()
  }

  /** From now on every option except NBD_OPT_ABORT is answered NBD_REP_ERR_SHUTDOWN. */
  shutdown(): void {
    this.#shuttingDown = true
  }

  /** Ends the session for a reason of the owner's, such as a timeout. Harmless in any state. */
  close(reason: string): void {
    this.#session.fail(new ProtocolError('handshake', 'completion', reason))
  }

  /** Consumes one message from the input, if a whole one is there. */
  #step(): boolean {
    if (this.#skip) return this.#stepSkip(this.#skip)
    if (this.state === 'client-flags') return this.#stepClientFlags()
    if (this.state === 'haggling') return this.#stepOption()
    return false
  }

  #stepClientFlags(): boolean {
    const { input } = this.#session
    if (input.length < NBD_CLIENT_FLAGS_SIZE) return false
    const flags = input.peek(NBD_CLIENT_FLAGS_SIZE).getUint32(0)
    input.drop(NBD_CLIENT_FLAGS_SIZE)
    const known = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES
    if ((flags & ~known) !== 0 || (flags & NBD_FLAG_C_FIXED_NEWSTYLE) === 0) {
      const expected = 'NBD_FLAG_C_FIXED_NEWSTYLE and no unknown flag'
      this.#session.fail(new ProtocolError('client flags', expected, `0x${flags.toString(16)}`))
      return false
    }
    this.#options.noZeroes = (flags & NBD_FLAG_C_NO_ZEROES) !== 0
    this.#session.move('haggling')
    return true
  }

  #stepOption(): boolean {
    const { input } = this.#session
    if (input.length < NBD_OPTION_HEADER_SIZE) return false
    const header = input.peek(NBD_OPTION_HEADER_SIZE)
    if (header.getUint32(0) !== NBD_OPTS_MAGIC_HIGH || header.getUint32(4) !== NBD_OPTS_MAGIC_LOW) {
      const received = `0x${header.getBigUint64(0).toString(16)}`
      this.#session.fail(new ProtocolError('option magic', 'IHAVEOPT', received))
      return false
    }
    const option = header.getUint32(8)
    const length = header.getUint32(12)
    if (length > OPTION_LENGTH_MAX) return this.#skipOrFail(option, length)
    if (input.length < NBD_OPTION_HEADER_SIZE + length) return false
    if (++this.#optionCount > OPTIONS_PER_SESSION_MAX) {
      const expected = `at most ${OPTIONS_PER_SESSION_MAX}`
      this.#session.fail(new ProtocolError('options in a session', expected, 'more'))
      return false
    }
    input.drop(NBD_OPTION_HEADER_SIZE)
    this.#dispatch(option, input.take(length))
    return true
  }

  /** An over-long option is read past if that is cheap, else the session ends (CVE-2017-15119). */
  #skipOrFail(option: number, length: number): boolean {
    if (length > OPTION_SKIP_LENGTH_MAX || option === NBD_OPT_EXPORT_NAME) {
      const expected = `at most ${OPTION_LENGTH_MAX} bytes`
      this.#session.fail(new ProtocolError(`data of option ${option}`, expected, `${length}`))
      return false
    }
    this.#optionCount++
    this.#session.input.drop(NBD_OPTION_HEADER_SIZE)
    this.#skip = { option, remaining: length }
    return true
  }

  #stepSkip(skip: { option: number; remaining: number }): boolean {
    skip.remaining -= this.#session.input.drop(skip.remaining)
    if (skip.remaining > 0) return false
    this.#skip = undefined
    this.#reply(skip.option, NBD_REP_ERR_TOO_BIG, explain('option data is too long'))
    return true
  }

  /** Rules that hold for every option come first, then the options themselves. */
  #dispatch(option: number, data: Uint8Array): void {
    if (option === NBD_OPT_ABORT) {
      this.#reply(option, NBD_REP_ACK)
      this.#session.move('ended')
    } else if (this.#shuttingDown) {
      this.#refuse(option, NBD_REP_ERR_SHUTDOWN, 'the server is shutting down')
    } else if (option === NBD_OPT_STARTTLS) {
      this.#startTls(data)
    } else if (this.#tls === 'required' && !this.#tlsActive) {
      this.#refuse(option, NBD_REP_ERR_TLS_REQD, 'this server requires TLS')
    } else {
      this.#negotiate(option, data)
    }
  }

  #negotiate(option: number, data: Uint8Array): void {
    const hideTlsOnly = !this.#tlsActive && this.#tls !== 'off'
    const outcome = this.#options.handle(option, data, hideTlsOnly)
    if (outcome === 'chosen') this.#session.move('transmission')
    if (outcome === 'unavailable') {
      this.#session.fail(new ProtocolError('NBD_OPT_EXPORT_NAME', 'an export we have', 'another'))
    }
  }

  #startTls(data: Uint8Array): void {
    const option = NBD_OPT_STARTTLS
    if (this.#tls === 'off') {
      this.#reply(option, NBD_REP_ERR_POLICY, explain('this server does not use TLS'))
    } else if (this.#tlsActive || data.length > 0) {
      this.#reply(option, NBD_REP_ERR_INVALID, explain('TLS is active, or the option has data'))
    } else if (this.#session.input.length > 0) {
      // An honest client waits for the reply. These bytes would be taken for part of the
      // encrypted session, which is the attack of nbdkit CVE-2021-3716.
      this.#failPlaintext(this.#session.input.length)
    } else {
      this.#reply(option, NBD_REP_ACK)
      this.#session.move('starting-tls')
    }
  }

  #failPlaintext(length: number): void {
    const received = `${length} bytes in the clear`
    this.#session.fail(new ProtocolError('after NBD_OPT_STARTTLS', 'a TLS handshake', received))
  }

  /** An error reply, or for NBD_OPT_EXPORT_NAME, which has none, the end of the session. */
  #refuse(option: number, type: number, why: string): void {
    if (option === NBD_OPT_EXPORT_NAME) {
      this.#session.fail(new ProtocolError('NBD_OPT_EXPORT_NAME', 'another option', why))
    } else {
      this.#reply(option, type, explain(why))
    }
  }

  #reply(option: number, type: number, data: Uint8Array = new Uint8Array()): void {
    if (isFinalState(this.state)) return
    this.#session.send(encodeOptionReply(option, type, data))
  }
}

function explain(text: string): Uint8Array {
  return encodeText(text, 'error message')
}
