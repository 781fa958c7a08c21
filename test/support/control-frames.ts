/**
 * Control frames as a stranger might send them: any value, without the checks of the real channel.
 */
import { pack, unpack } from 'msgpackr'

const LENGTH_SIZE = 4

export function encodeAnything(message: unknown): Buffer {
  const body = pack(message)
  const head = Buffer.alloc(LENGTH_SIZE)
  head.writeUInt32BE(body.length)
  return Buffer.concat([head, body])
}

export function decodeFrames(bytes: Buffer): unknown[] {
  const messages: unknown[] = []
  for (let at = 0; at + LENGTH_SIZE <= bytes.length; ) {
    const end = at + LENGTH_SIZE + bytes.readUInt32BE(at)
    messages.push(unpack(bytes.subarray(at + LENGTH_SIZE, end)))
    at = end
  }
  return messages
}
