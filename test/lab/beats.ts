/**
 * Watches a guest from outside: its writer prints a beat five times a second while writes are
 * acknowledged, and each is stamped on arrival with this machine's clock, whichever host it comes
 * from. So the longest silence is the downtime of a migration, to about a fifth of a second. It
 * costs the emulated hosts a good part of their time, so it is for the part that matters only.
 */
import { createInterface } from 'node:readline'
import { now, sleep, until } from './clock.ts'
import type { Guest } from './guest.ts'
import type { Host } from './host.ts'

const BEAT_MS = 200
/** Until the first one. */
const FIRST_MS = 60_000

export interface Silence {
  readonly ms: number
  /** When it began, on this machine's clock (ms). */
  readonly from: number
}

export class Beats {
  readonly #followers: ReturnType<Host['start']>[] = []
  readonly #times: number[] = []
  #lastCount = -1

  /** Follows the guest's console on all `hosts`; settles when the first beat has come. */
  static async follow(guest: Guest, hosts: readonly Host[]): Promise<Beats> {
    const beats = new Beats()
    for (const host of hosts) beats.#followOn(host, guest.name)
    await guest.ask(`beats ${BEAT_MS}`)
    await until(
      `a beat of guest ${guest.name}`,
      FIRST_MS,
      () => beats.#times.length > 0 || undefined,
    )
    return beats
  }

  /** The longest time without a beat since `since`, the present silence included. */
  longestSilence(since = this.#times[0] ?? now()): Silence {
    const times = [since, ...this.#times.filter(time => time > since), now()]
    let longest = { ms: 0, from: since }
    for (const [index, time] of times.entries()) {
      const ms = (times[index + 1] ?? time) - time
      if (ms > longest.ms) longest = { ms, from: time }
    }
    return longest
  }

  async close(): Promise<void> {
    for (const follower of this.#followers) follower.kill('SIGKILL')
    await sleep(0)
  }

  #followOn(host: Host, name: string): void {
    const logs = ['', '--incoming'].map(end => `/var/log/xen/console/guest-${name}${end}.log`)
    const script = `touch ${logs.join(' ')}; exec tail -q -n 0 -F ${logs.join(' ')} 2>/dev/null`
    const follower = host.start(script)
    this.#followers.push(follower)
    follower.stdin.end()
    createInterface({ input: follower.stdout }).on('line', line => {
      const count = Number(/^beat (\d+)/.exec(line)?.[1] ?? Number.NaN)
      // The console of the guest that has left may repeat itself.
      if (!(count > this.#lastCount)) return
      this.#lastCount = count
      this.#times.push(now())
    })
  }
}
