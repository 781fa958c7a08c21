/** The configuration that goes from xl to xl: some disks change, and nothing else does. */
import { describe, expect, test } from 'vitest'
import {
  CONFIG_BYTES_MAX,
  type ConfigDisk,
  type ConfiguredGuest,
  XlConfigError,
  XlConfigRewriter,
} from '../../src/migration/xl-config.ts'
import { Random } from '../support/random.ts'

const MAGIC = 'Xen saved domain, xl format\n \0 \r'
const EDIT: ConfigDisk = { vdev: 'xvda', script: 'block-ferry', target: '/dev/vg0/web1' }
/** As it is, and stays. */
const DATA: ConfigDisk = { vdev: 'xvdb', target: 'web1-data' }
const CONFIG = {
  c_info: { type: 'pvh', name: 'web1', uuid: '2d1ac0c8-6b46-4ac8-a5c9-c2b4c7d5a001' },
  b_info: { max_vcpus: 2, max_memkb: 98304, cmdline: 'root=/dev/xvda "ß" \u0007', pae: 'True' },
  disks: [
    { pdev_path: '/dev/vg0/web1', vdev: 'xvda', backend: 'phy', format: 'raw', readwrite: 1 },
    { pdev_path: 'web1-data', vdev: 'xvdb', script: 'block-ferry', format: 'raw', readwrite: 1 },
  ],
  nics: [{ devid: 0, mac: '00:16:3e:00:00:01', bridge: 'xenbr0' }],
}
/** What libxl sends behind the configuration, and behind the optional data. */
const BEHIND = Buffer.from('LibxlFmt and memory, with Xen saved domain, xl format inside')

interface Parts {
  readonly magic?: string
  readonly byteOrder?: number
  readonly flags?: number
  readonly text?: string | Buffer
  readonly length?: number
  readonly optional?: Buffer
  readonly optionalLength?: number
}

function streamOf(config: unknown, parts: Parts = {}): Buffer {
  const { magic = MAGIC, byteOrder = 0x01020304, flags = 3, optional = Buffer.alloc(0) } = parts
  const text = Buffer.from(parts.text ?? `${JSON.stringify(config, null, 4)}\n\0`)
  const { length = text.length, optionalLength = 4 + text.length + optional.length } = parts
  const head = Buffer.alloc(52)
  head.write(magic, 'latin1')
  head.writeUInt32LE(byteOrder, 32)
  head.writeUInt32LE(flags, 36)
  head.writeUInt32LE(0x1234, 40)
  head.writeUInt32LE(optionalLength, 44)
  head.writeUInt32LE(length, 48)
  return Buffer.concat([head, text, optional, BEHIND])
}

/** Takes a stream apart as the receiving xl does. */
function read(stream: Buffer) {
  const optionalLength = stream.readUInt32LE(44)
  const length = stream.readUInt32LE(48)
  const config = stream.subarray(52, 52 + length)
  expect(config.indexOf(0)).toBe(length - 1)
  return {
    magic: stream.toString('latin1', 0, 32),
    words: [32, 36, 40].map(at => stream.readUInt32LE(at)),
    config: JSON.parse(config.toString('utf8', 0, length - 1)) as typeof CONFIG,
    optional: stream.subarray(52 + length, 48 + optionalLength),
    behind: stream.subarray(48 + optionalLength),
  }
}

const guestOf = (disks: readonly ConfigDisk[] = [EDIT, DATA]): ConfiguredGuest => ({
  domain: 'web1',
  disks,
  readOnly: ['xvdz'],
})

function rewrite(stream: Buffer, disks?: readonly ConfigDisk[], size = stream.length) {
  const rewriter = new XlConfigRewriter(guestOf(disks))
  const out: Uint8Array[] = []
  for (let at = 0; at < stream.length; at += size) {
    out.push(rewriter.take(stream.subarray(at, at + size)))
  }
  return Buffer.concat(out)
}

test('a disk gets the script and what libxl takes a script with, and all else stays', () => {
  const optional = Buffer.from('more of it')
  const { magic, words, config, ...rest } = read(rewrite(streamOf(CONFIG, { optional })))
  expect([magic, words]).toEqual([MAGIC, [0x01020304, 3, 0x1234]])
  const [first, second] = CONFIG.disks
  expect(config).toEqual({ ...CONFIG, disks: [{ ...first, script: 'block-ferry' }, second] })
  expect(Object.keys(config)).toEqual(Object.keys(CONFIG))
  expect(rest).toEqual({ optional, behind: BEHIND })
})

test('a disk gets another place, and one that says little of itself is told everything', () => {
  const edits = [
    { vdev: 'xvda', script: 'block-ferry', target: '/dev/vg1/web' },
    DATA,
    { vdev: 'xvdc', script: 'block-ferry', target: 'web1-more' },
  ]
  const disks = [...CONFIG.disks, { vdev: 'xvdc', readwrite: 1 }]
  const { config } = read(rewrite(streamOf({ ...CONFIG, disks }), edits))
  const raw = { backend: 'phy', format: 'raw', script: 'block-ferry', readwrite: 1 }
  expect(config.disks).toEqual([
    { ...raw, vdev: 'xvda', pdev_path: '/dev/vg1/web' },
    CONFIG.disks[1],
    { ...raw, vdev: 'xvdc', pdev_path: 'web1-more' },
  ])
})

test('it comes out the same, whatever the bytes were cut into', () => {
  const stream = streamOf(CONFIG)
  const whole = rewrite(stream)
  for (let size = 1; size < 80; size++) {
    expect(rewrite(stream, undefined, size).equals(whole)).toBe(true)
  }
  for (let cut = 1; cut < stream.length; cut++) {
    const rewriter = new XlConfigRewriter(guestOf())
    const parts = [stream.subarray(0, cut), stream.subarray(cut)].map(one => rewriter.take(one))
    expect(Buffer.concat(parts).equals(whole)).toBe(true)
  }
})

test('nothing goes on before the configuration is whole, and everything at once afterwards', () => {
  const stream = streamOf(CONFIG)
  const end = stream.length - BEHIND.length
  const rewriter = new XlConfigRewriter(guestOf())
  expect(rewriter.take(stream.subarray(0, end - 1))).toHaveLength(0)
  expect(rewriter.take(stream.subarray(end - 1, end)).length).toBeGreaterThan(52)
  const memory = Buffer.alloc(100_000, 7)
  expect(rewriter.take(memory)).toBe(memory)
})

test('where no disk gets a script, every byte stays, and numbers may be of any size', () => {
  const json = JSON.stringify(CONFIG, undefined, 4)
  const text = `${json.replace('98304', '18446744073709551615')}\n\0`
  const stream = streamOf(CONFIG, { text })
  const root: ConfigDisk = { vdev: 'xvda', target: '/dev/vg0/web1' }
  for (const size of [1, 51, stream.length]) {
    expect(rewrite(stream, [root, DATA], size).equals(stream)).toBe(true)
  }
  const elsewhere = { ...root, target: '/dev/vg1/web1' }
  const said = 'has /dev/vg0/web1 as disk xvda, and not /dev/vg1/web1'
  expect(() => rewrite(stream, [elsewhere, DATA])).toThrow(said)
  expect(() => rewrite(stream, [root])).toThrow('has a disk xvdb that this session does not copy')
  expect(() => rewrite(streamOf(CONFIG, { flags: 2 }), [root, DATA])).toThrow('no configuration')
})

test('a disk that nobody can write to goes on as it is, also a drive with nothing in it', () => {
  const disks = [...CONFIG.disks, { vdev: 'xvdz', format: 'empty', is_cdrom: 1 }]
  expect(read(rewrite(streamOf({ ...CONFIG, disks }))).config.disks[2]).toEqual(disks[2])
})

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random.below(choices.length)]!
}

/** Any JSON that libxl could write, and much that it would not. */
function anything(random: Random, depth = 0): unknown {
  const text = (): string =>
    Array.from({ length: random.below(6) }, () =>
      pick(random, [
        'a',
        '"',
        '\\',
        '/',
        '\u0001',
        'é',
        '€',
        '😀',
        '\ud800',
        '{',
        ' ',
        '__proto__',
      ]),
    ).join('')
  switch (random.below(depth > 3 ? 5 : 7)) {
    case 0:
      return null
    case 1:
      return random.below(2) === 0
    case 2:
      return random.below(2 ** 31) * pick(random, [1, -1])
    case 3:
      return pick(random, [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0])
    case 4:
      return text()
    case 5:
      return Array.from({ length: random.below(4) }, () => anything(random, depth + 1))
    default: {
      const fields = Array.from({ length: random.below(4) }, () => [
        text(),
        anything(random, depth + 1),
      ])
      return Object.fromEntries(fields)
    }
  }
}

test('of any configuration all but the disk’s four fields leaves as it came', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed)
    const rest = anything(random)
    const fields = Object.fromEntries([['extra', anything(random)]])
    const other = { vdev: 'xvdz', ...fields }
    const c_info = { ...fields, name: 'web1' }
    const disks = [other, { ...fields, vdev: 'xvda' }]
    const before = { rest, c_info, disks, after: anything(random) }
    const { config } = read(rewrite(streamOf(before), [EDIT]))
    const { target, vdev, script } = EDIT
    const edited = { ...fields, vdev, pdev_path: target, backend: 'phy', format: 'raw', script }
    expect(JSON.stringify(config)).toBe(JSON.stringify({ ...before, disks: [other, edited] }))
  }
})

describe('refused, in a sentence, with nothing passed on:', () => {
  const text = (json: string): Parts => ({ text: `${json}\0` })
  const withNumber = (number: string): Parts =>
    text(`{"c_info": {"name": "web1"}, "max": [${number}], "disks": [{"vdev": "xvda"}]}`)
  const withDisk = (disk: string): Parts =>
    text(`{"c_info": {"name": "web1"}, "disks": [{"vdev": "xvda"}, ${disk}]}`)
  const cases: readonly (readonly [name: string, parts: Parts, sentence: string])[] = [
    ['another magic', { magic: MAGIC.replace('xl', 'xm') }, 'something else than a saved domain'],
    ['a magic that was translated', { magic: MAGIC.replace('\r', '\n') }, 'something else'],
    ['another byte order', { byteOrder: 0x04030201 }, 'byte order'],
    ['no JSON', { flags: 2 }, 'no configuration in JSON'],
    [
      'a length above the limit',
      { length: CONFIG_BYTES_MAX + 1 },
      `${CONFIG_BYTES_MAX} is the lim`,
    ],
    ['an impossible length', { length: 0xffffffff }, `${CONFIG_BYTES_MAX} is the limit`],
    ['no configuration', { length: 0 }, 'is cut off'],
    ['less optional data than configuration', { optionalLength: 100 }, 'is cut off'],
    ['no optional data', { optionalLength: 0 }, 'is cut off'],
    ['no NUL at the end', { text: '{"disks": []}' }, 'does not end where it says'],
    ['a NUL in the middle', text('{"disks":\0 []}'), 'does not end where it says'],
    ['something else than JSON', text('disk = [ ]'), 'is no JSON in UTF-8'],
    ['bytes that are no UTF-8', { text: Buffer.from('{"a": "\xff"}\0', 'latin1') }, 'in UTF-8'],
    ['a disk that is not there', text('{"disks": [{"vdev": "xvdz"}]}'), 'has no disk xvda'],
    ['no disks', text('{}'), 'has no disk xvda'],
    ['disks that are none', text('{"disks": {"vdev": "xvda"}}'), 'has no disk xvda'],
    ['a list', text('[{"vdev": "xvda"}]'), 'has no disk xvda'],
    ['another name', text('{"c_info": {"name": "web2"}, "disks": [{"vdev": "xvda"}]}'), 'it web2'],
    ['no name', text('{"disks": [{"vdev": "xvda"}]}'), 'calls it undefined, and not web1'],
    ['a disk more', withDisk('{"vdev": "xvdb"}'), 'a disk xvdb that this session does not copy'],
    ['a disk twice', withDisk('{"vdev": "xvda"}'), 'a disk xvda that this session does not copy'],
    ['a disk without a name', withDisk('{}'), 'a disk undefined that'],
    ['a disk that is none', withDisk('null'), 'a disk undefined that'],
    ['one that is written to', withDisk('{"vdev": "xvdz", "readwrite": 1}'), 'a disk xvdz that'],
    ['an integer above 2^53', withNumber('18446744073709551615'), 'cannot be passed on exactly'],
    ['an integer just above 2^53', withNumber('9007199254740993'), 'cannot be passed on exactly'],
    ['a fraction', withNumber('0.1'), 'cannot be passed on exactly'],
    ['a number that has no end', withNumber('1e999'), 'cannot be passed on exactly'],
  ]
  test.each(cases)('%s', (_name, parts, sentence) => {
    for (const size of [1, 7, 10_000]) {
      const rewriter = new XlConfigRewriter(guestOf([EDIT]))
      const stream = streamOf(CONFIG, parts)
      let passed = 0
      const feed = (): void => {
        for (let at = 0; at < stream.length; at += size) {
          passed += rewriter.take(stream.subarray(at, at + size)).byteLength
        }
      }
      expect(feed).toThrow(XlConfigError)
      expect(() => rewrite(stream, [EDIT])).toThrow(sentence)
      expect(passed).toBe(0)
    }
  })
})
