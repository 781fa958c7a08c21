// The entry `nbd-client-ts`: the codec, and the client, which needs node:net and node:tls.

export {
  type BlockStatusExtent,
  NbdClient,
  type NbdClientOptions,
  type WriteOptions,
  type WriteZeroesOptions,
} from './client.ts'
export * from './codec.ts'
export { openSession, type Session, type SessionOptions, type TlsStarter } from './session.ts'
export {
  certificateDirectory,
  type NbdTlsOptions,
  parsePskFile,
  readPsk,
  tlsConnectOptions,
} from './tls.ts'
