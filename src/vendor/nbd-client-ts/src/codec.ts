// The entry `nbd-client-ts/codec`: the protocol without I/O. It imports no node module, so that
// it also runs in a worker, a browser or over shared memory.

export {
  ClientHandshake,
  type ClientHandshakeOptions,
  type ClientTlsPolicy,
} from './client-handshake.ts'
export type { ClientHandshakeResult, ListedExport } from './client-options.ts'
export * from './constants.ts'
export { Coverage } from './coverage.ts'
export * from './errors.ts'
export {
  HANDSHAKE_STATES,
  type HandshakeState,
  isFinalState,
  mayFollow,
} from './handshake-session.ts'
export * from './limits.ts'
export type { BlockSize, MetaContext } from './options.ts'
export { ReplyParser, type ReplyParserOptions } from './reply-parser.ts'
export type { Reply, ReplyExtent, ReplyRequest } from './reply-progress.ts'
export {
  ServerHandshake,
  type ServerHandshakeOptions,
  type ServerTlsPolicy,
} from './server-handshake.ts'
export type { ExportInfo, Exports, ServerHandshakeResult } from './server-options.ts'
export { formatNbdUri, type NbdUri, parseNbdUri } from './uri.ts'
export * from './wire.ts'
