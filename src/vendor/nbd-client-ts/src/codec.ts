// The entry `nbd-client-ts/codec`: the protocol without I/O. It imports no node module, so that
// it also runs in a worker, a browser or over shared memory.

export * from './constants.ts'
export * from './errors.ts'
export * from './limits.ts'
export * from './wire.ts'
