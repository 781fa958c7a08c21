/**
 * One guest with one disk: a number that it counts up, and that both hosts' disks should hold. It
 * is a domain on the source, on the destination, on both for a while (one of them not running), or
 * nowhere.
 */
import type { Role } from '../../src/migration/roles.ts'
import { Violation } from './world.ts'

export interface Owners {
  /** What the journals' bytes say, whoever is alive. */
  sourceRole(): Role
  destinationRole(): Role
}

export class Guest {
  atSource: 'running' | 'suspended' | 'gone' = 'running'
  atDestination: 'running' | 'paused' | 'gone' = 'gone'
  /** What the source's device does with I/O. */
  device: 'open' | 'parked' | 'error' = 'open'
  isMirrored = true
  /** The last write that the guest was told is done. */
  acknowledged = 0
  sourceDisk = 0
  destinationDisk = 0
  readonly #owners: Owners

  constructor(owners: Owners) {
    this.#owners = owners
  }

  get isRunning(): boolean {
    return this.#writesAtSource || this.atDestination === 'running'
  }

  get #writesAtSource(): boolean {
    return this.atSource === 'running' && this.device === 'open'
  }

  /** The next write, wherever the guest runs; every write reads what was there. */
  write(): void {
    if (this.#writesAtSource) {
      if (this.#owners.sourceRole() !== 'owner') throw new Violation('a write at no owner: source')
      if (this.sourceDisk !== this.acknowledged) throw new Violation('a write is lost: source')
      this.sourceDisk++
      if (this.isMirrored) this.destinationDisk = this.sourceDisk
      this.acknowledged = this.sourceDisk
    }
    if (this.atDestination === 'running') {
      const role = this.#owners.destinationRole()
      if (role !== 'owner') throw new Violation('a write at no owner: destination')
      if (this.destinationDisk !== this.acknowledged) {
        throw new Violation('a write is lost: destination')
      }
      this.acknowledged = ++this.destinationDisk
    }
  }

  check(): void {
    if (this.#writesAtSource && this.atDestination === 'running') {
      throw new Violation('the guest runs twice')
    }
  }

  suspend(): void {
    if (this.atSource === 'running') this.atSource = 'suspended'
  }

  resumeAtSource(): void {
    if (this.atSource === 'suspended') this.atSource = 'running'
  }

  destroyAtSource(): void {
    this.atSource = 'gone'
  }

  pauseAtDestination(): void {
    if (this.atDestination === 'gone') this.atDestination = 'paused'
  }

  runAtDestination(): void {
    if (this.atDestination === 'paused') this.atDestination = 'running'
  }

  destroyAtDestination(): void {
    this.atDestination = 'gone'
  }
}
