import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { Subject } from '../conformance.ts'

export function testTimers(subject: Subject): void {
  /** A timer that is under watch: how often it expired. */
  const watched = (): { arm(ms: number): void; disarm(): void; count: number } => {
    const watch = { count: 0, arm: (_: number): void => {}, disarm: (): void => {} }
    const timer = subject.engine.createTimer(() => {
      watch.count++
    })
    watch.arm = ms => timer.arm(ms)
    watch.disarm = () => timer.disarm()
    return watch
  }
  const expiry = (ms: number): Promise<void> =>
    new Promise(resolve => subject.engine.createTimer(resolve).arm(ms))

  it('expires once, not before its time', async () => {
    const timer = watched()
    const armed = performance.now()
    timer.arm(15)
    await expiry(15)
    expect(performance.now() - armed).toBeGreaterThanOrEqual(15)
    await delay(30)
    expect(timer.count).toBe(1)
  })

  it('expires in order of time, then of arming', async () => {
    const order: string[] = []
    const create = (name: string) => subject.engine.createTimer(() => order.push(name))
    const [a, b, c, d] = [create('a'), create('b'), create('c'), create('d')]
    c.arm(12)
    a.arm(4)
    d.arm(20)
    b.arm(8)
    await expiry(25)
    expect(order).toEqual(['a', 'b', 'c', 'd'])
  })

  it('does not expire inside arm, even with no delay', async () => {
    const timer = watched()
    timer.arm(0)
    expect(timer.count).toBe(0)
    await expiry(2)
    expect(timer.count).toBe(1)
  })

  it('does not expire after disarm, and can be armed again', async () => {
    const timer = watched()
    timer.arm(3)
    timer.disarm()
    timer.disarm()
    await expiry(10)
    expect(timer.count).toBe(0)
    timer.arm(3)
    await expiry(10)
    expect(timer.count).toBe(1)
  })

  it('arms anew: later', async () => {
    const timer = watched()
    timer.arm(3)
    timer.arm(40)
    // Looked at within the expiry itself: on a late machine both may come in one turn.
    let before = -1
    subject.engine.createTimer(() => (before = timer.count)).arm(15)
    await expiry(45)
    expect([before, timer.count]).toEqual([0, 1])
  })

  it('arms anew: earlier', async () => {
    const timer = watched()
    timer.arm(10_000)
    timer.arm(3)
    await expiry(20)
    expect(timer.count).toBe(1)
  })

  it('may be armed by its own expiry, without starving others', async () => {
    let count = 0
    let isEnough = false
    const timer = subject.engine.createTimer(() => {
      count++
      if (!isEnough) timer.arm(0)
    })
    timer.arm(0)
    // Would not come if it were starved.
    await expiry(5)
    isEnough = true
    expect(count).toBeGreaterThan(0)
  })

  it('may be disarmed by the expiry of another that is due as well', async () => {
    const victim = watched()
    const first = subject.engine.createTimer(() => victim.disarm())
    first.arm(2)
    victim.arm(2)
    // Both are due by the time anything runs.
    const until = performance.now() + 6
    while (performance.now() < until);
    await expiry(5)
    expect(victim.count).toBe(0)
  })

  it('counts its delay from now, also after the engine was idle', async () => {
    await delay(60)
    const armed = performance.now()
    await expiry(20)
    expect(performance.now() - armed).toBeGreaterThanOrEqual(20)
  })

  it('goes on with hundreds armed and re-armed all the time', async () => {
    const guards = Array.from({ length: 300 }, () => watched())
    for (let round = 0; round < 20; round++) {
      for (const guard of guards) guard.arm(600)
      await expiry(2)
    }
    for (const guard of guards.slice(0, 150)) guard.disarm()
    await expiry(620)
    expect(guards.slice(0, 150).every(guard => guard.count === 0)).toBe(true)
    expect(guards.slice(150).every(guard => guard.count === 1)).toBe(true)
  })

  it('tells a time that does not go back', async () => {
    let last = subject.engine.now()
    for (let i = 0; i < 5; i++) {
      await expiry(1)
      const now = subject.engine.now()
      expect(now).toBeGreaterThan(last)
      last = now
    }
  })
}
