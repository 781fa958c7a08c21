/**
 * Golden bytes of netlink, made by a C program from the kernel's headers, and bytes that no kernel
 * would send.
 */
import { describe, expect, test } from 'vitest'
import { connectAttributes, deadLinkOf, decodeStatus } from '../../src/host/kernel-nbd.ts'
import {
  decodeAcknowledgement,
  decodeGeneric,
  decodeMessages,
  encodeGeneric,
} from '../../src/host/netlink-codec.ts'
import { NetlinkError } from '../../src/host/netlink-error.ts'
import { Random } from '../support/random.ts'

const bytes = (hex: string): Uint8Array =>
  Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'))
const hex = (encoded: Uint8Array): string => Buffer.from(encoded).toString('hex')

const GET_FAMILY = '1c00000010000500010000000000000003010000080002006e626400'
const CONNECT = `
  780000001c00050002000000000000000101000008000100030000000c0002000000000000010000
  0c00030000020000000000000c0005000d010000000000000c00040000000000000000000c000800
  2c010000000000000e000a0073657373696f6e2d31000000100007800c0001800800010011000000`.replaceAll(
  /\s/g,
  '',
)
const STATUS_REPLY = `400000001c000000020000000000000005000000
  2c0009801400018008000100000000000500020000
  00000014000180080001000100000005000200 01000000`
const LINK_DEAD = '1c0000001c0000000000000000000000040000000800010001000000'
const REFUSAL = `4400000002000003090000004d000000f0ffffff140000001c00000009000000000000001600 0100
  6e62642064657669636520696e207573650000000800020018000000`
const ACK = '240000000200000102000000000000000000000014000000000000000000000000000000'

describe('what is sent', () => {
  test('asking for a family', () => {
    const attributes = [{ type: 2, text: 'nbd' }]
    const encoded = encodeGeneric({
      family: 16,
      flags: 5,
      sequence: 1,
      command: 3,
      version: 1,
      attributes,
    })
    expect(hex(encoded)).toBe(GET_FAMILY)
  })

  test('connecting a device, with nested sockets and an identifier that is padded', () => {
    const attributes = connectAttributes({
      index: 3,
      size: 2 ** 40,
      blockSize: 512,
      serverFlags: 0x10d,
      timeoutSeconds: 0,
      deadConnectionSeconds: 300,
      identifier: 'session-1',
      fds: [17],
    })
    const message = { family: 0x1c, flags: 5, sequence: 2, command: 1, version: 1, attributes }
    expect(hex(encodeGeneric(message))).toBe(CONNECT)
  })

  test('a text with a NUL is refused', () => {
    const attributes = [{ type: 2, text: 'n\0bd' }]
    const message = { family: 16, flags: 5, sequence: 1, command: 3, version: 1, attributes }
    expect(() => encodeGeneric(message)).toThrow('NUL')
  })
})

describe('what is received', () => {
  test('the state of two devices', () => {
    const [message] = decodeMessages(bytes(STATUS_REPLY))
    expect(decodeStatus(decodeGeneric(message!.payload))).toEqual([
      { index: 0, isConnected: false },
      { index: 1, isConnected: true },
    ])
  })

  test('the notice of a dead connection', () => {
    const [message] = decodeMessages(bytes(LINK_DEAD))
    expect(deadLinkOf(decodeGeneric(message!.payload))).toBe(1)
    const [other] = decodeMessages(bytes(STATUS_REPLY))
    expect(deadLinkOf(decodeGeneric(other!.payload))).toBeUndefined()
  })

  test("a refusal with the kernel's own sentence, whether or not it repeats the request", () => {
    const capped = decodeMessages(bytes(REFUSAL))[0]!
    const expected = { errno: 16, sentence: 'nbd device in use' }
    expect(decodeAcknowledgement(capped)).toEqual(expected)
    const request = new Uint8Array(4)
    const whole = Buffer.concat([
      capped.payload.subarray(0, 20),
      request,
      capped.payload.subarray(20),
    ])
    expect(decodeAcknowledgement({ ...capped, flags: 0x200, payload: whole })).toEqual(expected)
  })

  test('an acknowledgement', () => {
    const [message] = decodeMessages(bytes(ACK))
    expect(message?.sequence).toBe(2)
    expect(decodeAcknowledgement(message!)).toEqual({ errno: 0, sentence: undefined })
  })

  test('several messages in one datagram', () => {
    const both = bytes(STATUS_REPLY + ACK)
    expect(decodeMessages(both).map(({ type }) => type)).toEqual([0x1c, 2])
  })
})

describe('what no kernel sends', () => {
  /** Decodes as far as it goes; anything but a value or a malformed error fails the test. */
  function decodeAll(datagram: Uint8Array): 'value' | 'malformed' {
    try {
      for (const message of decodeMessages(datagram)) {
        if (message.type === 2) decodeAcknowledgement(message)
        else decodeStatus(decodeGeneric(message.payload))
      }
      return 'value'
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'malformed') return 'malformed'
      throw error
    }
  }

  test('every truncation but one at a boundary is malformed', () => {
    const whole = bytes(REFUSAL)
    for (let length = 1; length < whole.byteLength; length++) {
      expect([length, decodeAll(whole.slice(0, length))]).toEqual([length, 'malformed'])
    }
  })

  test('a length of zero does not loop', () => {
    expect(decodeAll(new Uint8Array(64))).toBe('malformed')
  })

  test('damaged bytes give a value or a malformed error, nothing else', () => {
    const random = new Random(7)
    const seen = new Set<string>()
    for (let round = 0; round < 5000; round++) {
      const datagram = bytes([STATUS_REPLY, REFUSAL, ACK][round % 3]!)
      for (let flips = 1 + random.below(4); flips > 0; flips--) {
        datagram[random.below(datagram.byteLength)] = random.below(256)
      }
      seen.add(decodeAll(datagram))
    }
    expect([...seen].sort()).toEqual(['malformed', 'value'])
  })
})
