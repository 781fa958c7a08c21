/**
 * The data thread's entry: answers the control thread's calls. Everything it holds, the engine, the
 * disk's chain, the connections and the mirror, belongs to this thread alone.
 */
import assert from 'node:assert/strict'
import { parentPort } from 'node:worker_threads'
import { Counters } from '../nbd/counters.ts'
import { Transmission } from '../nbd/transmission.ts'
import { closeStream } from '../tls/tls-socket.ts'
import type { AttachClient, ControlCalls, DataCalls, OpenDisk, OpenedDisk } from './calls.ts'
import { closeFooting, Disk, type Footing } from './disk.ts'
import { MirrorHost } from './mirror-host.ts'
import { ThreadLink } from './thread-link.ts'

interface Opened {
  readonly disk: Disk
  readonly mirror: MirrorHost
  readonly transmission: Transmission
}

class DataThreadMain {
  readonly #link: ThreadLink<DataCalls, ControlCalls>
  #openedNow: Opened | undefined
  /** Of a disk that was closed, for the next one. */
  #footing: Footing | undefined

  constructor(port: NonNullable<typeof parentPort>) {
    this.#link = new ThreadLink(port, {
      open: options => this.#open(options),
      attach: client => this.#attach(client),
      mirrorStart: params => this.#opened.mirror.start(params),
      mirrorStatus: () => this.#opened.mirror.status(),
      mirrorSet: params => this.#opened.mirror.set(params),
      mirrorCancel: () => this.#opened.mirror.cancel(),
      mirrorComplete: params => this.#opened.mirror.complete(params),
      mirrorResume: () => this.#opened.mirror.resume(),
      close: async () => {
        const disk = await this.#letGo(0)
        this.#footing = await disk?.closeDevice()
      },
      stop: ({ deadlineMs }) => this.#stop(deadlineMs),
    })
  }

  get #opened(): Opened {
    assert(this.#openedNow !== undefined, 'data thread: no disk is open')
    return this.#openedNow
  }

  async #open(options: OpenDisk): Promise<OpenedDisk> {
    const footing = this.#footing
    this.#footing = undefined
    const disk = await Disk.open(options, footing)
    try {
      const { engine, device, arena } = disk
      const mirror = new MirrorHost(disk, this.#link, options)
      const transmission = new Transmission(engine, device, arena, new Counters(options.counters))
      this.#openedNow = { disk, mirror, transmission }
      return { ...disk.description, dirtyBytes: mirror.dirtyBytes }
    } catch (error) {
      await disk.close()
      throw error
    }
  }

  #attach(client: AttachClient): Promise<string> {
    if (this.#openedNow === undefined) closeStream(client)
    return new Promise(closed => this.#opened.transmission.attach({ ...client, closed }))
  }

  /**
   * The mirror ends first: what it holds for a switchover under way goes on, and nothing of it may
   * touch a disk that is closed. Requests held after a completed one never complete by themselves:
   * their clients are dropped unanswered, so that a guest above sees a lost connection and not an
   * error.
   */
  async #letGo(deadlineMs: number): Promise<Disk | undefined> {
    if (this.#openedNow === undefined) return undefined
    const { disk, mirror, transmission } = this.#openedNow
    this.#openedNow = undefined
    await mirror.close()
    const isHeld = disk.gate.isStopped
    const stopped = transmission.stop(isHeld ? 0 : deadlineMs)
    if (isHeld) await disk.gate.close()
    await stopped
    return disk
  }

  async #stop(deadlineMs: number): Promise<void> {
    const disk = await this.#letGo(deadlineMs)
    await disk?.close()
    if (this.#footing !== undefined) await closeFooting(this.#footing)
    this.#footing = undefined
  }
}

assert(parentPort !== null, 'data thread: not a worker')
new DataThreadMain(parentPort)
