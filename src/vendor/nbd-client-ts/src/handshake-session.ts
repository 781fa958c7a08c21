// What both roles of the handshake share: the one table of states, the bytes that came in, the
// bytes to send, and how a session fails. Invariant: a session moves only along the table, and
// nothing leaves a state without successors. No I/O, no timer, no clock.

import { ByteQueue } from './byte-queue.ts'
import { type NbdError, ProtocolError } from './errors.ts'
import { HANDSHAKE_OUTPUT_MAX } from './limits.ts'
import { concatBytes } from './payload.ts'

/** All states of a handshake, in both roles, and the states each may be followed by. */
export const HANDSHAKE_STATES = {
  /** The server's magic and handshake flags are on their way. */
  greeting: ['client-flags', 'failed'],
  /** The client's flags are on their way. */
  'client-flags': ['haggling', 'failed'],
  /** The client sends options, the server replies. */
  haggling: ['starting-tls', 'transmission', 'ended', 'failed'],
  /** NBD_OPT_STARTTLS was acknowledged: the owner runs TLS, then calls tlsEstablished(). */
  'starting-tls': ['haggling', 'failed'],
  /** The export is chosen; `result` is there. What follows is not the handshake's business. */
  transmission: [],
  /** The client said NBD_OPT_ABORT: send what is to be sent and close. */
  ended: [],
  /** The peer, or the owner through close(), ended it: send what is to be sent and close. */
  failed: [],
} as const satisfies Record<string, readonly string[]>

/** Name of a handshake state. */
export type HandshakeState = keyof typeof HANDSHAKE_STATES

/** Whether the table lets `to` follow `from`. */
export function mayFollow(from: HandshakeState, to: HandshakeState): boolean {
  const successors: readonly string[] = HANDSHAKE_STATES[from]
  return successors.includes(to)
}

/** Whether a handshake in this state is over. */
export function isFinalState(state: HandshakeState): boolean {
  return HANDSHAKE_STATES[state].length === 0
}

/** State, input, output and failure of one handshake; each role owns one. */
export class HandshakeSession {
  readonly input = new ByteQueue()
  #state: HandshakeState = 'greeting'
  #failure: ProtocolError | NbdError | undefined
  #output: Uint8Array[] = []
  #outputBytes = 0

  get state(): HandshakeState {
    return this.#state
  }

  get failure(): ProtocolError | NbdError | undefined {
    return this.#failure
  }

  /** Goes to the next state. A move that the table does not have is a programmer error. */
  move(to: HandshakeState): void {
    if (!mayFollow(this.#state, to)) throw new Error(`handshake: ${this.#state} -> ${to}`)
    this.#state = to
  }

  /** Ends the session because of `failure`. The first failure stays; input is forgotten. */
  fail(failure: ProtocolError | NbdError): void {
    if (isFinalState(this.#state)) return
    this.#failure = failure
    this.input.takeAll()
    this.move('failed')
  }

  /** Queues bytes for the peer. A peer that does not read them in time fails the session. */
  send(bytes: Uint8Array): void {
    if (isFinalState(this.#state)) return
    this.#outputBytes += bytes.length
    if (this.#outputBytes > HANDSHAKE_OUTPUT_MAX) {
      const received = `${this.#outputBytes} bytes`
      this.fail(new ProtocolError('unread replies', `${HANDSHAKE_OUTPUT_MAX} bytes`, received))
      return
    }
    this.#output.push(bytes)
  }

  /** Removes and returns the bytes to send to the peer, in order; empty if there are none. */
  takeOutput(): Uint8Array {
    const output = concatBytes(this.#output)
    this.#output = []
    this.#outputBytes = 0
    return output
  }
}
