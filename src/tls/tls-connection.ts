/**
 * One TLS connection, without a socket: plain bytes on one side, encrypted ones in two rings on the
 * other (a pair of OpenSSL's BIOs). Encrypted bytes can be received into the one ring and sent out
 * of the other where they are. A connection is used by one thread at a time; the control thread
 * runs the handshake, then hands it over.
 */
import { constants } from 'node:os'
import { viewOf } from '../io/libc.ts'
import type { Memory } from '../io/memory.ts'
import {
  type AddressOut,
  BIO_ctrl_get_write_guarantee,
  BIO_ctrl_pending,
  BIO_free,
  BIO_new_bio_pair,
  BIO_nread,
  BIO_nread0,
  BIO_nwrite,
  BIO_nwrite0,
  BIO_read,
  BIO_write,
  ERR_clear_error,
  SSL_do_handshake,
  SSL_ERROR_WANT_READ,
  SSL_ERROR_WANT_WRITE,
  SSL_ERROR_ZERO_RETURN,
  SSL_free,
  SSL_get_error,
  SSL_key_update,
  SSL_read,
  SSL_set_bio,
  SSL_shutdown,
  SSL_write,
} from './openssl.ts'
import {
  type Certificates,
  newClientSsl,
  newServerSsl,
  type PskIdentity,
  type Secrets,
  type TlsKeys,
  withSecrets,
} from './tls-context.ts'
import { takeTlsError } from './tls-error.ts'

/**
 * Size of each ring (bytes): fifteen full records, which take some 50 us to encrypt, and are more
 * than a send that an engine takes to be done at once.
 */
export const TLS_RING_SIZE = 256 * 1024
/** Most plain bytes in a record (RFC 8446, 5.1). */
export const TLS_RECORD_MAX = 16 * 1024
/** Room that is enough for any record: header, padding and tag included. */
const TLS_RECORD_ROOM = TLS_RECORD_MAX + 512

/** Records under one key, of some 2 ** 24.5 that AES-GCM is good for (RFC 8446, 5.5). */
const TLS_RECORDS_PER_KEY = 2 ** 24

/**
 * Steps without data (a ticket is one, a new key one or two) that a peer may cost us with so many
 * bytes of data: each takes as long as a full record. What is to be answered always finds room.
 */
const TLS_SILENT_MAX = 64
const TLS_SILENT_PER_BYTES = 2 ** 20

const { EBADMSG } = constants.errno

/** A connection on its way to another thread: addresses. */
export interface TlsHandle {
  readonly ssl: number
  /** Our end of the pair, and its other end, which is the connection's. */
  readonly network: number
  readonly inner: number
  /** Where the rings are. */
  readonly input: number
  readonly output: number
}

/** No bytes now: more encrypted ones must come first. */
export const TLS_WANTS_INPUT = 0
/** The peer has said that it sends no more. */
export const TLS_END = -1

export class TlsConnection {
  /** Whoever has it last calls `free`. */
  readonly handle: TlsHandle
  readonly #secrets: Secrets
  readonly #recordsPerKey: number
  #records = 0
  #silent = 0
  #bytesSinceSilent = 0
  readonly #address: AddressOut = new Uint32Array(new ArrayBuffer(8))

  private constructor(
    handle: TlsHandle,
    secrets: Secrets = {},
    recordsPerKey = TLS_RECORDS_PER_KEY,
  ) {
    this.handle = handle
    this.#secrets = secrets
    this.#recordsPerKey = recordsPerKey
  }

  /** In the server's role; the handshake is still to be run. */
  static server(keys: TlsKeys): TlsConnection {
    return new TlsConnection(newHandle(newServerSsl()), { keys })
  }

  /** In the client's role. Throws `TlsError` if a certificate's file cannot be used. */
  static client(identity: PskIdentity | Certificates): TlsConnection {
    const psk = 'key' in identity ? identity : undefined
    return new TlsConnection(newHandle(newClientSsl(identity)), { psk })
  }

  /** One that another thread has handed over. */
  static adopt(handle: TlsHandle, recordsPerKey?: number): TlsConnection {
    return new TlsConnection(handle, {}, recordsPerKey)
  }

  /** Goes on as far as what has come allows; true when it is over. Throws `TlsError`. */
  handshake(): boolean {
    const { ssl } = this.handle
    ERR_clear_error()
    const result = withSecrets(this.#secrets, () => SSL_do_handshake(ssl))
    if (result === 1) return true
    const error = SSL_get_error(ssl, result)
    if (error !== SSL_ERROR_WANT_READ && error !== SSL_ERROR_WANT_WRITE) throw takeTlsError(ssl)
    return false
  }

  /**
   * Decrypts up to `length` bytes to `address`; a record's at most. Returns their number,
   * TLS_WANTS_INPUT, TLS_END, or -EBADMSG when the peer broke the protocol or somebody has changed
   * what it sent: the connection is of no use then. There may be output afterwards.
   */
  read(address: number, length: number): number {
    const { ssl } = this.handle
    for (;;) {
      ERR_clear_error()
      const count = SSL_read(ssl, address, length)
      if (count > 0) {
        this.#bytesSinceSilent += count
        return count
      }
      const error = SSL_get_error(ssl, count)
      if (error === SSL_ERROR_WANT_READ) {
        // A record without data ends the call as well, and what follows it is there already.
        if (BIO_ctrl_pending(this.handle.inner) === 0) return TLS_WANTS_INPUT
        if (this.#bytesSinceSilent >= TLS_SILENT_PER_BYTES) this.#silent = 0
        this.#bytesSinceSilent = 0
        if (++this.#silent > TLS_SILENT_MAX) break
        continue
      }
      if (error === SSL_ERROR_ZERO_RETURN) return TLS_END
      break
    }
    ERR_clear_error()
    return -EBADMSG
  }

  /** Full records that can be written for certain. */
  get recordsRoom(): number {
    return Math.floor(BIO_ctrl_get_write_guarantee(this.handle.inner) / TLS_RECORD_ROOM)
  }

  /** Encrypts `length` bytes, no more than there is room for; false if that is not possible. */
  write(address: number, length: number): boolean {
    ERR_clear_error()
    const count = SSL_write(this.handle.ssl, address, length)
    this.#records += Math.ceil(length / TLS_RECORD_MAX)
    if (this.#records >= this.#recordsPerKey) this.renewKey()
    if (count === length) return true
    ERR_clear_error()
    return false
  }

  /**
   * From the next write on there is another key, in TLS 1.3 (no other version can do that), and if
   * it `isRequested` of the peer too, for its own direction.
   */
  renewKey(isRequested = false): void {
    this.#records = 0
    SSL_key_update(this.handle.ssl, isRequested ? 1 : 0)
    ERR_clear_error()
  }

  /** Says that nothing more will be sent. */
  shutdown(): void {
    SSL_shutdown(this.handle.ssl)
    ERR_clear_error()
  }

  // The encrypted side, where it is

  /** The ring for what comes in. A view for this thread, until `free`. */
  inputMemory(): Memory {
    return ringAt(this.handle.input)
  }
  /** The ring of what goes out. */
  outputMemory(): Memory {
    return ringAt(this.handle.output)
  }
  /** Bytes of room in one piece at `inputAt`. */
  inputRoom(): number {
    return Math.max(0, BIO_nwrite0(this.handle.network, this.#address))
  }
  /** Where in the ring; right after `inputRoom`. */
  get inputAt(): number {
    return this.#addressNow - this.handle.input
  }
  /** So many bytes were put at `inputAt`. */
  received(count: number): void {
    BIO_nwrite(this.handle.network, this.#address, count)
  }
  /** Bytes in one piece at `outputAt`. */
  outputLength(): number {
    return Math.max(0, BIO_nread0(this.handle.network, this.#address))
  }
  /** Where in the ring; right after `outputLength`. */
  get outputAt(): number {
    return this.#addressNow - this.handle.output
  }
  /** So many bytes at `outputAt` have left. */
  sent(count: number): void {
    BIO_nread(this.handle.network, this.#address, count)
  }

  // The encrypted side, by copying

  /** Takes encrypted bytes in; returns how many of them there was room for. */
  put(bytes: Uint8Array): number {
    return Math.max(0, BIO_write(this.handle.network, bytes, bytes.length))
  }
  /** The encrypted bytes that are to leave; empty if there are none. */
  take(): Uint8Array {
    const bytes = Buffer.allocUnsafe(BIO_ctrl_pending(this.handle.network))
    if (bytes.length > 0) BIO_read(this.handle.network, bytes, bytes.length)
    return bytes
  }

  /** Nothing of it may be used any more, the rings' views included. */
  free(): void {
    SSL_free(this.handle.ssl)
    BIO_free(this.handle.network)
  }

  get #addressNow(): number {
    return addressIn(this.#address)
  }
}

function newHandle(ssl: number): TlsHandle {
  const [ours, theirs] = [new Uint32Array(2), new Uint32Array(2)]
  if (BIO_new_bio_pair(ours, TLS_RING_SIZE, theirs, TLS_RING_SIZE) !== 1) {
    SSL_free(ssl)
    throw takeTlsError()
  }
  const [network, inner] = [addressIn(ours), addressIn(theirs)]
  SSL_set_bio(ssl, inner, inner)
  // Nothing is in them yet, so that their room begins where they do.
  BIO_nwrite0(network, ours)
  BIO_nwrite0(inner, theirs)
  return { ssl, network, inner, input: addressIn(ours), output: addressIn(theirs) }
}

function ringAt(address: number): Memory {
  return { bytes: new Uint8Array(viewOf(address, TLS_RING_SIZE)), address }
}

function addressIn(out: AddressOut): number {
  return out[0]! + out[1]! * 2 ** 32
}
