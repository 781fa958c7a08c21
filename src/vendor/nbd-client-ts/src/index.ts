// The entry `nbd-client-ts`: the codec, and the client that needs node:net and node:tls.

export * from './codec.ts'
