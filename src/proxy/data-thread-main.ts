/**
 * The data thread's entry: answers the control thread's calls. Everything it holds, the engine, the disk's chain, the connections and the
 * mirror, belongs to this thread alone.
 */
import assert from 'node:assert/strict'
import { parentPort } from 'node:worker_threads'
import { Counters } from '../nbd/counters.ts'
import { Transmission } from '../nbd/transmission.ts'
import type { AttachClient, ControlCalls, DataCalls, OpenDisk, OpenedDisk } from './calls.ts'
import { Disk } from './disk.ts'
import { ThreadLink } from './thread-link.ts'

class DataThreadMain {
  readonly #link: ThreadLink<DataCalls, ControlCalls>
  #disk: Disk | undefined
  #transmission: Transmission | undefined

  constructor(port: NonNullable<typeof parentPort>) {
    this.#link = new ThreadLink(port, {
      open: options => this.#open(options),
      attach: client => this.#attach(client),
      stop: ({ deadlineMs }) => this.#stop(deadlineMs),
    })
  }

  async #open(options: OpenDisk): Promise<OpenedDisk> {
    const disk = await Disk.open(options)
    this.#disk = disk
    this.#transmission = new Transmission(
      disk.engine,
      disk.device,
      disk.arena,
      new Counters(options.counters),
    )
    return disk.description
  }

  #attach(client: AttachClient): Promise<string> {
    const transmission = this.#transmission
    assert(transmission !== undefined, 'data thread: no disk is open')
    return new Promise(closed => transmission.attach({ ...client, closed }))
  }

  /**
   * Held requests never complete by themselves: their clients are dropped unanswered, so that a guest above sees a lost
   * connection and not an error.
   */
  async #stop(deadlineMs: number): Promise<void> {
    const disk = this.#disk
    if (disk === undefined) return
    const isHeld = disk.gate.isStopped
    const stopped = this.#transmission?.stop(isHeld ? 0 : deadlineMs)
    if (isHeld) await disk.device.close()
    await stopped
    await disk.close()
  }
}

assert(parentPort !== null, 'data thread: not a worker')
new DataThreadMain(parentPort)
