import { describe, expect, it } from 'vitest'
import { type HoldOwner, RangeHold, RangeLock } from '../../src/mirror/range-lock.ts'
import { Random } from '../support/random.ts'

class Owner implements HoldOwner {
  readonly hold = new RangeHold(this)
  readonly name: string
  readonly log: string[]

  constructor(name: string, log: string[], offset: number, end: number) {
    this.name = name
    this.log = log
    this.hold.offset = offset
    this.hold.end = end
  }

  granted(): void {
    this.log.push(this.name)
  }
}

describe('range lock', () => {
  it('lets ranges that do not overlap go on side by side', () => {
    const lock = new RangeLock()
    expect(lock.acquire(new Owner('a', [], 0, 10).hold)).toBe(true)
    expect(lock.acquire(new Owner('b', [], 10, 20).hold)).toBe(true)
    expect(lock.acquire(new Owner('c', [], 9, 11).hold)).toBe(false)
  })

  it('serves those that wait in the order in which they came', () => {
    const lock = new RangeLock()
    const log: string[] = []
    const holder = new Owner('holder', log, 0, 100)
    const waiters = ['a', 'b', 'c'].map(name => new Owner(name, log, 40, 60))
    lock.acquire(holder.hold)
    for (const waiter of waiters) lock.acquire(waiter.hold)
    lock.release(holder.hold)
    expect(log).toEqual(['a'])
    lock.release(waiters[0]!.hold)
    expect(log).toEqual(['a', 'b'])
  })

  it('does not let a newcomer overtake a wide hold that waits', () => {
    const lock = new RangeLock()
    const log: string[] = []
    const small = new Owner('small', log, 0, 10)
    const wide = new Owner('wide', log, 0, 100)
    const late = new Owner('newcomer', log, 50, 60)
    lock.acquire(small.hold)
    lock.acquire(wide.hold)
    expect(lock.acquire(late.hold)).toBe(false)
    lock.release(small.hold)
    expect(log).toEqual(['wide'])
    lock.release(wide.hold)
    expect(log).toEqual(['wide', 'newcomer'])
  })

  it('lets those behind go on when one leaves the queue', () => {
    const lock = new RangeLock()
    const log: string[] = []
    const small = new Owner('small', log, 0, 10)
    const wide = new Owner('wide', log, 0, 100)
    const newcomer = new Owner('newcomer', log, 50, 60)
    lock.acquire(small.hold)
    lock.acquire(wide.hold)
    lock.acquire(newcomer.hold)
    lock.leave(wide.hold)
    expect(log).toEqual(['newcomer'])
  })

  it('knows which ranges are held late until they are released', () => {
    const lock = new RangeLock()
    const owner = new Owner('a', [], 0, 10)
    lock.acquire(owner.hold)
    expect(lock.isLate(0, 10)).toBe(false)
    lock.markLate(owner.hold)
    expect(lock.isLate(9, 20)).toBe(true)
    expect(lock.isLate(10, 20)).toBe(false)
    lock.release(owner.hold)
    expect(lock.isLate(0, 10)).toBe(false)
    expect(lock.lateCount).toBe(0)
  })

  it('never has two active holds that overlap, and grants every hold in the end', () => {
    const random = new Random(7)
    const lock = new RangeLock()
    const log: string[] = []
    const owners: Owner[] = []
    for (let step = 0; step < 5000; step++) {
      if (owners.length < 12 && random.chance(0.6)) {
        const offset = random.below(40)
        const owner = new Owner(`${step}`, log, offset, offset + 1 + random.below(20))
        owners.push(owner)
        lock.acquire(owner.hold)
      } else if (owners.length > 0) {
        const owner = owners[random.below(owners.length)]!
        if (owner.hold.state === 'waiting' && !random.chance(0.2)) continue
        owners.splice(owners.indexOf(owner), 1)
        if (owner.hold.state === 'active') lock.release(owner.hold)
        else lock.leave(owner.hold)
      }
      expectSound(owners)
    }
  })
})

/** No two active overlap; who waits overlaps somebody active or somebody who came before. */
function expectSound(owners: Owner[]): void {
  owners.forEach(({ hold }, index) => {
    const isBlocked = owners.some((other, at) => {
      if (other.hold === hold || !other.hold.overlaps(hold.offset, hold.end)) return false
      return other.hold.state === 'active' || at < index
    })
    const hasActiveRival = owners.some(
      other =>
        other.hold !== hold &&
        other.hold.state === 'active' &&
        other.hold.overlaps(hold.offset, hold.end),
    )
    if (hold.state === 'active') expect(hasActiveRival).toBe(false)
    else expect(isBlocked).toBe(true)
  })
}
