import { describe, expect, it } from 'vitest'
import { TimerQueue } from '../../src/io/timer-queue.ts'
import { Random } from '../support/random.ts'

describe('timer queue', () => {
  it('agrees with a list of times under random arming, disarming and waiting', () => {
    const random = new Random(20)
    let now = 0
    const queue = new TimerQueue({ now: () => now, armed: () => {} })
    const due = new Map<number, { at: number; sequence: number }>()
    const expired: number[] = []
    const timers = Array.from({ length: 50 }, (_, i) => queue.create(() => expired.push(i)))
    for (let step = 0; step < 5000; step++) {
      const index = random.below(timers.length)
      const choice = random.below(10)
      if (choice < 6) {
        const delay = random.below(100)
        timers[index]!.arm(delay)
        due.set(index, { at: now + delay, sequence: step })
      } else if (choice < 8) {
        timers[index]!.disarm()
        due.delete(index)
      } else {
        now += random.below(30)
        const ready = [...due].filter(([, { at }]) => at <= now)
        ready.sort(([, a], [, b]) => a.at - b.at || a.sequence - b.sequence)
        for (const [i] of ready) due.delete(i)
        expired.length = 0
        queue.expire(now)
        expect(expired).toEqual(ready.map(([i]) => i))
      }
      const earliest = Math.min(...[...due.values()].map(({ at }) => at))
      expect(queue.next).toBeLessThanOrEqual(earliest)
    }
  })

  it('says when its earliest time may have changed, and not for a timer that is put off', () => {
    const told: number[] = []
    const queue = new TimerQueue({ now: () => 0, armed: at => told.push(at) })
    const timer = queue.create(() => {})
    timer.arm(10)
    timer.arm(20)
    timer.disarm()
    timer.arm(30)
    timer.arm(5)
    expect(told).toEqual([10, 5])
  })

  it('runs a timer that arms itself once a round', () => {
    let count = 0
    const queue = new TimerQueue({ now: () => 0, armed: () => {} })
    const timer = queue.create(() => {
      if (++count < 10) timer.arm(0)
    })
    timer.arm(0)
    for (const round of [1, 2, 3]) {
      queue.expire(0)
      expect(count).toBe(round)
    }
    expect(queue.next).toBe(0)
  })

  it('forgets everything on clear, and is usable afterwards', () => {
    const expired: string[] = []
    const queue = new TimerQueue({ now: () => 0, armed: () => {} })
    const timer = queue.create(() => expired.push('expired'))
    timer.arm(1)
    queue.clear()
    queue.expire(5)
    expect(expired).toEqual([])
    timer.arm(1)
    queue.expire(5)
    expect(expired).toEqual(['expired'])
  })
})
