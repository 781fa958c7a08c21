/** The journal over memory that crashes: after every possible end it opens to a state that was. */
import { describe, expect, test } from 'vitest'
import { FREE_SLOTS, Journal } from '../../src/migration/journal.ts'
import { encodeSlot, replay, SLOT_BYTES } from '../../src/migration/journal-codec.ts'
import { JournalError } from '../../src/migration/journal-error.ts'
import { NO_HOLDING, type RoleChange, type RoleVerb } from '../../src/migration/roles.ts'
import { type Fault, MemoryStorage } from './memory-journal.ts'

const S = 'session-1'
const both = [
  { disk: 'xvda', session: S },
  { disk: 'xvdb', session: S },
]
const STEPS: readonly (readonly [RoleVerb, readonly RoleChange[]])[] = [
  ['claim', [{ disk: 'xvda' }]],
  ['claim', [{ disk: 'xvdb' }]],
  ['seal', [both[0]!]],
  ['seal', [both[1]!]],
  ['give-away', both],
  ['take-back', both],
]

const stateOf = (journal: Journal): string => JSON.stringify([...journal.disks].sort())

/** A journal after `count` steps, and the states on the way, the first before any. */
function written(count = STEPS.length) {
  const storage = new MemoryStorage()
  const journal = new Journal(storage)
  const states = [stateOf(journal)]
  for (const [verb, changes] of STEPS.slice(0, count)) {
    journal.apply(verb, changes)
    states.push(stateOf(journal))
  }
  return { storage, journal, states }
}

function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(JournalError)
    return (error as JournalError).code
  }
  return 'none'
}

describe('steps', () => {
  test('survive', () => {
    const { storage, journal } = written()
    const again = new Journal(new MemoryStorage(storage.bytes))
    expect(stateOf(again)).toBe(stateOf(journal))
    expect(again.holding('xvda')).toEqual({ role: 'owner', epoch: 3, session: undefined })
    expect(again.holding('xvdz')).toEqual(NO_HOLDING)
    expect(again.wasTorn).toBe(false)
  })

  test('of several disks happen for all or for none', () => {
    const { storage, journal } = written(3)
    const before = stateOf(journal)
    // xvdb is not sealed yet.
    expect(codeOf(() => journal.apply('give-away', both))).toBe('refused')
    expect(stateOf(journal)).toBe(before)
    expect(stateOf(new Journal(new MemoryStorage(storage.bytes)))).toBe(before)
  })

  test('need each disk once, and names that fit', () => {
    const { journal } = written()
    expect(codeOf(() => journal.apply('claim', []))).toBe('refused')
    expect(codeOf(() => journal.apply('claim', [{ disk: 'x' }, { disk: 'x' }]))).toBe('refused')
    expect(codeOf(() => journal.apply('claim', [{ disk: 'x'.repeat(129) }]))).toBe('refused')
    expect(codeOf(() => journal.apply('claim', [{ disk: '' }]))).toBe('refused')
    const long = { disk: 'y', session: 's'.repeat(65), epoch: 1 }
    expect(codeOf(() => journal.apply('admit', [long]))).toBe('refused')
    const many = Array.from({ length: 40 }, (_, n) => ({ disk: 'd'.repeat(100) + n }))
    expect(codeOf(() => journal.apply('claim', many))).toBe('refused')
    journal.apply('claim', [{ disk: 'still writes' }])
  })
})

describe('crashes', () => {
  test(
    'every prefix of the bytes opens to a state that was, and to none ' + 'without a first record',
    () => {
      const { storage, states } = written()
      const bytes = storage.bytes!
      const end = SLOT_BYTES * (STEPS.length + 1)
      for (let length = 0; length < end + 2 * SLOT_BYTES; length += length % 512 === 0 ? 1 : 511) {
        const open = () => new Journal(new MemoryStorage(bytes.subarray(0, length)))
        if (length < SLOT_BYTES) {
          // The first record is there before the file is.
          expect([length, codeOf(open)]).toEqual([length, 'corrupt'])
          continue
        }
        const whole = Math.min(Math.floor(length / SLOT_BYTES) - 1, STEPS.length)
        // A record's end is zeroes: they may be missing.
        const state = stateOf(open())
        expect([length, states.slice(whole, whole + 2).includes(state)]).toEqual([length, true])
      }
    },
  )

  test('a record of which any sectors landed and others did not counts as never written', () => {
    const { storage, journal, states } = written(1)
    const many = Array.from({ length: 30 }, (_, n) => ({ disk: 'd'.repeat(70) + n }))
    journal.apply('claim', many)
    const at = SLOT_BYTES * 2
    const seen = new Set<boolean>()
    for (let mask = 0; mask < 256; mask++) {
      const bytes = storage.bytes!.slice()
      for (let sector = 0; sector < 8; sector++) {
        const start = at + sector * 512
        if ((mask & (1 << sector)) === 0) bytes.fill(0, start, start + 512)
      }
      const isWhole = Buffer.compare(bytes, storage.bytes!) === 0
      seen.add(isWhole)
      const state = stateOf(new Journal(new MemoryStorage(bytes)))
      expect([mask, state]).toEqual([mask, isWhole ? stateOf(journal) : states[1]])
    }
    expect(seen.size).toBe(2)
  })

  test('one wrong bit in the last record makes it count as never written', () => {
    for (let step = 0; step < STEPS.length; step++) {
      const { storage, states } = written(step + 1)
      storage.bytes![SLOT_BYTES * (step + 1) + 40]! ^= 1
      const torn = new Journal(new MemoryStorage(storage.bytes))
      expect([torn.wasTorn, stateOf(torn)]).toEqual([true, states[step]])
    }
  })

  test('after a torn record the journal goes on in its place', () => {
    const { storage } = written(3)
    storage.bytes![SLOT_BYTES * 3 + 33]! ^= 0x80
    const journal = new Journal(storage)
    expect(journal.wasTorn).toBe(true)
    for (const [verb, changes] of STEPS.slice(2)) journal.apply(verb, changes)
    const again = new Journal(new MemoryStorage(storage.bytes))
    expect([again.wasTorn, stateOf(again)]).toEqual([false, stateOf(journal)])
  })

  test('damage in the midst is refused, wherever it is', () => {
    const { storage } = written()
    for (let slot = 0; slot < STEPS.length; slot++) {
      for (let at = 0; at < SLOT_BYTES; at += 97) {
        const bytes = storage.bytes!.slice()
        bytes[slot * SLOT_BYTES + at]! ^= 0x10
        expect([slot, at, codeOf(() => replay(bytes))]).toEqual([slot, at, 'corrupt'])
      }
    }
    const behind = storage.bytes!.slice()
    behind[behind.length - 1] = 1
    expect(codeOf(() => replay(behind))).toBe('corrupt')
  })

  test('a record that is missing, doubled or of another file is refused', () => {
    const { storage } = written()
    const slot = (n: number) => storage.bytes!.subarray(n * SLOT_BYTES, (n + 1) * SLOT_BYTES)
    for (const order of [
      [0, 1, 3],
      [0, 1, 1, 2],
      [0, 2, 1],
    ]) {
      expect(codeOf(() => replay(Buffer.concat(order.map(slot))))).toBe('corrupt')
    }
    const wrong = { role: 'lord', epoch: 1, session: undefined } as unknown as typeof NO_HOLDING
    expect(codeOf(() => encodeSlot(1, [['xvda', wrong]]))).toBe('refused')
  })

  test.each<Fault>(['lost', 'torn', 'landed'])(
    'after a write that is %s nothing more is taken',
    fault => {
      for (let step = 0; step < STEPS.length; step++) {
        const { storage, journal, states } = written(step)
        const [verb, changes] = STEPS[step]!
        storage.fault = fault
        expect(codeOf(() => journal.apply(verb, changes))).toBe('broken')
        expect(codeOf(() => journal.apply(verb, changes))).toBe('broken')
        expect(codeOf(() => journal.reserve(S, 1))).toBe('broken')
        expect(stateOf(journal)).toBe(states[step])
        const again = new Journal(new MemoryStorage(storage.bytes))
        const after = written(step + 1).states[step + 1]
        expect(stateOf(again)).toBe(fault === 'landed' ? after : states[step])
      }
    },
  )
})

describe('room', () => {
  /** Seals and unseals until `count` more records are written. */
  function write(journal: Journal, count: number): void {
    for (let n = 0; n < count; n++) {
      const owns = journal.holding('xvda').role === 'owner'
      journal.apply(owns ? 'seal' : 'unseal', [{ disk: 'xvda', session: 'other' }])
    }
  }

  test('a full file is replaced by one that says the same, and its numbers go on', () => {
    const { storage, journal } = written(2)
    const first = storage.replacements
    write(journal, FREE_SLOTS * 3)
    expect(storage.replacements).toBeGreaterThan(first)
    const again = new Journal(new MemoryStorage(storage.bytes))
    expect(stateOf(again)).toBe(stateOf(journal))
    expect(replay(storage.bytes!).sequence).toBe(FREE_SLOTS * 3 + 2 + storage.replacements - 1)
  })

  test('many disks with the longest names survive a replacement', () => {
    const { storage, journal } = written(2)
    for (let n = 0; n < 100; n++) {
      const disk = `${'€'.repeat(124)}${n}`
      journal.apply('admit', [{ disk, session: '€'.repeat(64), epoch: 2 ** 40 }])
    }
    write(journal, FREE_SLOTS)
    expect(stateOf(new Journal(new MemoryStorage(storage.bytes)))).toBe(stateOf(journal))
  })

  test('a reservation leaves its steps room that nobody else can take, even on a full disk', () => {
    const { storage, journal } = written(4)
    journal.reserve(S, 2)
    expect(codeOf(() => write(journal, 0))).toBe('none')
    // Others write until the file is full, and the disk is too.
    journal.apply('claim', [{ disk: 'xvdc' }])
    for (;;) {
      const used = replay(storage.bytes!).used
      if (used === storage.bytes!.length / SLOT_BYTES - 2) break
      const verb = journal.holding('xvdc').role === 'owner' ? 'seal' : 'unseal'
      journal.apply(verb, [{ disk: 'xvdc', session: 'other' }])
    }
    storage.fault = 'full'
    const verb = journal.holding('xvdc').role === 'owner' ? 'seal' : 'unseal'
    expect(codeOf(() => journal.apply(verb, [{ disk: 'xvdc', session: 'other' }]))).toBe('full')
    storage.fault = 'full'
    journal.apply('give-away', both)
    journal.apply('take-back', both)
    expect(storage.fault).toBe('full')
    expect(stateOf(new Journal(new MemoryStorage(storage.bytes)))).toBe(stateOf(journal))
  })

  test('a reservation that finds no room says so, and the journal goes on', () => {
    const { storage, journal } = written(4)
    for (let n = 0; n < 8; n++) journal.reserve(`session ${n}`, 7)
    storage.fault = 'full'
    expect(codeOf(() => journal.reserve(S, 16))).toBe('full')
    journal.unreserve('session 0')
    journal.unreserve('session 1')
    journal.reserve(S, 16)
    journal.apply('give-away', both)
    expect(() => journal.reserve(S, 17)).toThrow(RangeError)
  })
})
