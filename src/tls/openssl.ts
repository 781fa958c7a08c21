/**
 * The part of OpenSSL that TLS takes, as Node carries it: its symbols are there for everybody in
 * the process (Node docs, C++ addons, "Linking to libraries included with Node.js"). Node's own
 * TLSSocket costs an encrypted stream ten times what the cipher does, in copies and in trips
 * through the event loop; and it cannot be handed to another thread.
 *
 * Objects are numbers, as addresses are. Results are OpenSSL's own.
 */
import koffi from 'koffi'
import { native } from '../io/libc.ts'

/** Where a function puts an address: two words, the low one first. */
export type AddressOut = Uint32Array

// Contexts: what connections have in common

export const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
export const SSL_CTRL_CLEAR_MODE = 78
export const SSL_CTRL_SET_DH_AUTO = 118
export const SSL_CTRL_SET_MIN_PROTO_VERSION = 123
export const TLS1_2_VERSION = 0x0303
export const SSL_MODE_AUTO_RETRY = 4
export const SSL_OP_NO_TICKET = 2 ** 14
export const SSL_OP_NO_COMPRESSION = 2 ** 17
export const SSL_OP_NO_RENEGOTIATION = 2 ** 30
export const SSL_VERIFY_NONE = 0
export const SSL_VERIFY_PEER = 1
export const SSL_FILETYPE_PEM = 1

export const TLS_method = native<() => number>('intptr_t TLS_method()')
export const SSL_CTX_new = native<(method: number) => number>('intptr_t SSL_CTX_new(intptr_t)')
export const SSL_CTX_free = native<(context: number) => void>('void SSL_CTX_free(intptr_t)')
export const SSL_CTX_ctrl = native<
  (context: number, command: number, value: number, pointer: null) => number
>('long SSL_CTX_ctrl(intptr_t, int, long, void *)')
export const SSL_CTX_set_options = native<(context: number, options: number) => number>(
  'uint64_t SSL_CTX_set_options(intptr_t, uint64_t)',
)
export const SSL_CTX_set_num_tickets = native<(context: number, count: number) => number>(
  'int SSL_CTX_set_num_tickets(intptr_t, size_t)',
)
export const SSL_CTX_set_ciphersuites = native<(context: number, names: string) => number>(
  'int SSL_CTX_set_ciphersuites(intptr_t, const char *)',
)
export const SSL_CTX_set_cipher_list = native<(context: number, names: string) => number>(
  'int SSL_CTX_set_cipher_list(intptr_t, const char *)',
)
export const SSL_CTX_set_verify = native<(context: number, mode: number, nothing: null) => void>(
  'void SSL_CTX_set_verify(intptr_t, int, void *)',
)
export const SSL_CTX_load_verify_file = native<(context: number, path: string) => number>(
  'int SSL_CTX_load_verify_file(intptr_t, const char *)',
)
export const SSL_CTX_use_certificate_chain_file = native<(context: number, path: string) => number>(
  'int SSL_CTX_use_certificate_chain_file(intptr_t, const char *)',
)
/** What OpenSSL takes for the pass phrase of a key: a string that must stay where it is. */
export const SSL_CTX_set_default_passwd_cb_userdata = native<
  (context: number, passPhrase: number) => void
>('void SSL_CTX_set_default_passwd_cb_userdata(intptr_t, intptr_t)')
export const SSL_CTX_use_PrivateKey_file = native<
  (context: number, path: string, type: number) => number
>('int SSL_CTX_use_PrivateKey_file(intptr_t, const char *, int)')

// Pre-shared keys

/** Calls back with where to put the identity and the key, and how much room there is. */
export type PskClient = (
  ssl: unknown,
  hint: string | null,
  identity: unknown,
  identityMax: number,
  key: unknown,
  keyMax: number,
) => number
/** Calls back with the client's identity, and where to put its key. */
export type PskServer = (
  ssl: unknown,
  identity: string | null,
  key: unknown,
  keyMax: number,
) => number

koffi.proto(
  'unsigned int PskClient(void *ssl, const char *hint, void *identity, unsigned int identityMax,' +
    ' void *key, unsigned int keyMax)',
)
koffi.proto(
  'unsigned int PskServer(void *ssl, const char *identity, void *key, unsigned int keyMax)',
)
export const SSL_CTX_set_psk_client_callback = native<(context: number, callback: bigint) => void>(
  'void SSL_CTX_set_psk_client_callback(intptr_t, PskClient *)',
)
export const SSL_CTX_set_psk_server_callback = native<(context: number, callback: bigint) => void>(
  'void SSL_CTX_set_psk_server_callback(intptr_t, PskServer *)',
)
/** Makes a function that OpenSSL can call in this thread, for as long as the thread lives. */
export function pskClient(callback: PskClient): bigint {
  return koffi.register(callback, 'PskClient *') as unknown as bigint
}
export function pskServer(callback: PskServer): bigint {
  return koffi.register(callback, 'PskServer *') as unknown as bigint
}
/** Puts bytes where a callback was told to. */
export function putBytes(at: unknown, bytes: Uint8Array): void {
  koffi.encode(at, koffi.array('uint8_t', bytes.length), bytes)
}

// Connections

export const SSL_ERROR_WANT_READ = 2
export const SSL_ERROR_WANT_WRITE = 3
export const SSL_ERROR_ZERO_RETURN = 6

export const SSL_new = native<(context: number) => number>('intptr_t SSL_new(intptr_t)')
export const SSL_free = native<(ssl: number) => void>('void SSL_free(intptr_t)')
export const SSL_set_bio = native<(ssl: number, read: number, write: number) => void>(
  'void SSL_set_bio(intptr_t, intptr_t, intptr_t)',
)
export const SSL_ctrl = native<
  (ssl: number, command: number, value: number, text: string | null) => number
>('long SSL_ctrl(intptr_t, int, long, const char *)')
export const SSL_set1_host = native<(ssl: number, name: string) => number>(
  'int SSL_set1_host(intptr_t, const char *)',
)
export const SSL_get0_param = native<(ssl: number) => number>('intptr_t SSL_get0_param(intptr_t)')
export const X509_VERIFY_PARAM_set1_ip_asc = native<(parameters: number, ip: string) => number>(
  'int X509_VERIFY_PARAM_set1_ip_asc(intptr_t, const char *)',
)
export const SSL_get_verify_result = native<(ssl: number) => number>(
  'long SSL_get_verify_result(intptr_t)',
)
export const X509_verify_cert_error_string = native<(code: number) => string>(
  'const char *X509_verify_cert_error_string(long)',
)
export const SSL_set_accept_state = native<(ssl: number) => void>(
  'void SSL_set_accept_state(intptr_t)',
)
export const SSL_set_connect_state = native<(ssl: number) => void>(
  'void SSL_set_connect_state(intptr_t)',
)
export const SSL_do_handshake = native<(ssl: number) => number>('int SSL_do_handshake(intptr_t)')
export const SSL_read = native<(ssl: number, address: number, length: number) => number>(
  'int SSL_read(intptr_t, intptr_t, int)',
)
export const SSL_write = native<(ssl: number, address: number, length: number) => number>(
  'int SSL_write(intptr_t, intptr_t, int)',
)
/** Of TLS 1.3 only: the next write is preceded by the news of a new key. */
export const SSL_key_update = native<(ssl: number, isRequested: number) => number>(
  'int SSL_key_update(intptr_t, int)',
)
export const SSL_shutdown = native<(ssl: number) => number>('int SSL_shutdown(intptr_t)')
export const SSL_get_error = native<(ssl: number, result: number) => number>(
  'int SSL_get_error(intptr_t, int)',
)
export const ERR_clear_error = native<() => void>('void ERR_clear_error()')
export const ERR_peek_error = native<() => number>('unsigned long ERR_peek_error()')
export const ERR_reason_error_string = native<(code: number) => string | null>(
  'const char *ERR_reason_error_string(unsigned long)',
)

// A pair of BIOs: two rings of bytes, one in each direction

export const BIO_new_bio_pair = native<
  (one: AddressOut, oneSize: number, other: AddressOut, otherSize: number) => number
>('int BIO_new_bio_pair(void *, size_t, void *, size_t)')
export const BIO_free = native<(bio: number) => number>('int BIO_free(intptr_t)')
/** Bytes that can be written for certain. */
export const BIO_ctrl_get_write_guarantee = native<(bio: number) => number>(
  'size_t BIO_ctrl_get_write_guarantee(intptr_t)',
)
/** Bytes that can be read. */
export const BIO_ctrl_pending = native<(bio: number) => number>('size_t BIO_ctrl_pending(intptr_t)')
/** Where the next bytes are to be read, and how many there are in one piece (or <= 0). */
export const BIO_nread0 = native<(bio: number, address: AddressOut) => number>(
  'int BIO_nread0(intptr_t, void *)',
)
/** Takes `length` bytes off. */
export const BIO_nread = native<(bio: number, address: AddressOut, length: number) => number>(
  'int BIO_nread(intptr_t, void *, int)',
)
/** Where the next bytes are to be put, and how much room there is in one piece (or <= 0). */
export const BIO_nwrite0 = native<(bio: number, address: AddressOut) => number>(
  'int BIO_nwrite0(intptr_t, void *)',
)
/** Adds the `length` bytes that were put there. */
export const BIO_nwrite = native<(bio: number, address: AddressOut, length: number) => number>(
  'int BIO_nwrite(intptr_t, void *, int)',
)
export const BIO_read = native<(bio: number, bytes: Uint8Array, length: number) => number>(
  'int BIO_read(intptr_t, void *, int)',
)
export const BIO_write = native<(bio: number, bytes: Uint8Array, length: number) => number>(
  'int BIO_write(intptr_t, const void *, int)',
)
