// Two handshakes wired in memory, and splitting of byte streams. `TLS` here is a flag flip on both
// sides at once, which is all that a handshake ever sees of it.

import {
  type ClientHandshake,
  type ExportInfo,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FLUSH,
  NBD_META_BASE_ALLOCATION,
  ServerHandshake,
  type ServerHandshakeOptions,
} from '../../src/index.ts'

/** Cuts bytes into pieces. */
export type Splitter = (bytes: Uint8Array) => Uint8Array[]

export const whole: Splitter = bytes => [bytes]

export const byteByByte: Splitter = bytes => Array.from(bytes, byte => Uint8Array.of(byte))

/** Pieces of 0 to 19 bytes from a seeded generator (mulberry32). */
export function atRandom(seed: number): Splitter {
  const random = seeded(seed)
  return bytes => {
    const pieces: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = Math.floor(random() * 20)
      pieces.push(bytes.slice(at, at + length))
      at += length
    }
    return pieces
  }
}

/** A generator of numbers in [0, 1) that is the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Every way of cutting that the tests use, with a name for their titles. */
export const splitters: readonly (readonly [string, Splitter])[] = [
  ['whole', whole],
  ['byte by byte', byteByByte],
  ...[1, 2, 3, 4, 5].map(seed => [`split at random (seed ${seed})`, atRandom(seed)] as const),
]

/** Runs both sides until neither has anything to say. */
export function exchange(client: ClientHandshake, server: ServerHandshake, split: Splitter): void {
  for (let turns = 0; turns < 100; turns++) {
    const toClient = server.takeOutput()
    for (const piece of split(toClient)) client.feed(piece)
    if (client.state !== 'transmission' && server.state === 'transmission') {
      for (const piece of split(server.takeAcknowledgement())) client.feed(piece)
    }
    if (client.state === 'starting-tls' && server.state === 'starting-tls') {
      server.tlsEstablished()
      client.tlsEstablished()
    }
    const toServer = client.takeOutput()
    for (const piece of split(toServer)) server.feed(piece)
    if (toClient.length === 0 && toServer.length === 0) return
  }
  throw new Error('the handshakes do not come to rest')
}

export const disk: ExportInfo = {
  size: 1024 * 1024,
  flags: NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_DF,
  blockSize: { minimum: 512, preferred: 4096, maximum: 32 * 1024 * 1024 },
  description: 'a disk',
  contexts: [NBD_META_BASE_ALLOCATION, 'x-test:dirty'],
}

/** A server with the exports 'disk' (the default) and 'secret' (TLS only). */
export function serverHandshake(options: Partial<ServerHandshakeOptions> = {}): ServerHandshake {
  const exports = new Map([
    ['disk', disk],
    ['secret', { ...disk, size: 4096, tlsOnly: true }],
  ])
  return new ServerHandshake({ exports, defaultExport: 'disk', tls: 'off', ...options })
}

/** Bytes from parts: text as ASCII, [width, value] as a big-endian number, bytes as they are. */
export function wire(
  ...parts: (string | Uint8Array | readonly [8 | 16 | 32 | 64, number])[]
): Uint8Array {
  const bytes: number[] = []
  for (const part of parts) {
    if (typeof part === 'string') bytes.push(...new TextEncoder().encode(part))
    else if (part instanceof Uint8Array) bytes.push(...part)
    else {
      for (let shift = part[0] - 8; shift >= 0; shift -= 8) {
        bytes.push(Math.floor(part[1] / 2 ** shift) % 256)
      }
    }
  }
  return Uint8Array.from(bytes)
}

/** A client's flags and then options, each `[option, data]`. */
export function clientBytes(...options: (readonly [number, Uint8Array])[]): Uint8Array {
  return wire([32, 3], ...options.map(([option, data]) => optionBytes(option, data)))
}

export function optionBytes(option: number, data: Uint8Array = new Uint8Array()): Uint8Array {
  return wire('IHAVEOPT', [32, option], [32, data.length], data)
}

/** A server's greeting with the given handshake flags. */
export function greetingBytes(flags = 3): Uint8Array {
  return wire('NBDMAGICIHAVEOPT', [16, flags])
}

export function replyBytes(option: number, type: number, data: Uint8Array = new Uint8Array()) {
  return wire([64, 0x3e889045565a9], [32, option], [32, type], [32, data.length], data)
}

/** Option replies in a server's output: `[option, type, data]` each. */
export function parseReplies(bytes: Uint8Array): [number, number, Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const replies: [number, number, Uint8Array][] = []
  for (let at = 0; at < bytes.length; ) {
    const length = view.getUint32(at + 16)
    const data = bytes.slice(at + 20, at + 20 + length)
    replies.push([view.getUint32(at + 8), view.getUint32(at + 12), data])
    at += 20 + length
  }
  return replies
}
