/**
 * Tempting wrong rules. Each is the real mirror with one rule exchanged, and the simulation has to
 * notice: if it did not, its passing would mean nothing.
 */
import { Gate } from '../../src/block/gate.ts'
import { Request } from '../../src/block/request.ts'
import { Deadlines } from '../../src/mirror/deadlines.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import { RangeLock } from '../../src/mirror/range-lock.ts'
import { Switchover } from '../../src/mirror/switchover.ts'
import type { TrackedWrite } from '../../src/mirror/tracked-write.ts'
import { Tracking, type TrackingParts } from '../../src/mirror/tracking.ts'
import type { Simulation } from './simulation.ts'
import type { MortalBitmap } from './storage.ts'
import type { Variant } from './variant.ts'
import { ImpatientLock, UnlockedCopier, UnlockedGuest } from './wrong-locks.ts'

export interface Mutation extends Variant {
  readonly name: string
  /** For what is not passed in: returns how to put it right again. */
  readonly patch?: () => () => void
}

type TrackingClass = new (parts: TrackingParts, simulation: Simulation) => Tracking

/** The real rules, with what a wrong one needs in order to be wrong. */
class OpenTracking extends Tracking {
  readonly simulation: Simulation

  constructor(parts: TrackingParts, simulation: Simulation) {
    super(parts)
    this.simulation = simulation
  }

  /** Does it without storing any bits. */
  withoutBits<T>(action: () => T): T {
    const bitmap = this.bitmap as MortalBitmap
    bitmap.isMuted = true
    try {
      return action()
    } finally {
      bitmap.isMuted = false
    }
  }
}

class SetBeforeOnly extends OpenTracking {
  override quietEnd(_first: number, limit: number): number {
    return limit
  }

  override settleBackground(write: TrackedWrite): void {
    this.withoutBits(() => super.settleBackground(write))
  }
}

class SetAfterSuccessOnly extends OpenTracking {
  override quietEnd(_first: number, limit: number): number {
    return limit
  }

  override startBackground(write: TrackedWrite): void {
    this.withoutBits(() => super.startBackground(write))
  }

  override settleBackground(write: TrackedWrite): void {
    if (this.simulation.sourceError === 0) super.settleBackground(write)
    else this.withoutBits(() => super.settleBackground(write))
  }
}

/** Right but for a kill: the bits come after the write. */
class SetAfterOnly extends OpenTracking {
  override startBackground(write: TrackedWrite): void {
    this.withoutBits(() => super.startBackground(write))
  }
}

/** Right but for a kill: a bit is cleared under a write, and set again only when that settles. */
class ClearUnderWrites extends OpenTracking {
  override quietEnd(_first: number, limit: number): number {
    return limit
  }
}

class ClearAfterRead extends OpenTracking {
  override takeRun(slot: number, first: number, limit: number): number {
    return this.withoutBits(() => super.takeRun(slot, first, limit))
  }

  override settleRun(slot: number, first: number, end: number, isCopied: boolean): void {
    if (isCopied) this.bitmap.clear(first, end)
    super.settleRun(slot, first, end, isCopied)
  }
}

class NoClaims extends OpenTracking {
  constructor(parts: TrackingParts, simulation: Simulation) {
    super({ ...parts, claims: Object.assign(parts.claims, { record: () => {} }) }, simulation)
  }
}

class IgnoreCopyFailures extends OpenTracking {
  override settleRun(slot: number, first: number, end: number): void {
    super.settleRun(slot, first, end, true)
  }
}

class RoundOutward extends OpenTracking {
  override settleBlocking(write: TrackedWrite, isMirrored: boolean): void {
    const isClean = isMirrored && !write.isTainted
    super.settleBlocking(write, isMirrored)
    if (isClean) this.bitmap.clear(write.firstChunk, write.endChunk)
  }
}

/** What the chunks at the ends were is not looked at. */
class ForgetEnds extends OpenTracking {
  override startBlocking(write: TrackedWrite): void {
    super.startBlocking(write)
    write.isHeadDirty = false
    write.isTailDirty = false
  }
}

/** Bits of a write-blocking write are set when it fails, not before. */
class TrustBlocking extends OpenTracking {
  override startBlocking(write: TrackedWrite): void {
    this.withoutBits(() => super.startBlocking(write))
  }
}

class IgnoreTargetFailures extends OpenTracking {
  override settleBlocking(write: TrackedWrite): void {
    super.settleBlocking(write, true)
  }
}

class IgnoreTaint extends OpenTracking {
  override taint(): void {}
}

class ForgetStalls extends OpenTracking {
  override stall(): void {}
}

class IgnoreLoss extends OpenTracking {
  override targetLost(): void {}
}

/** Believes what was in flight when the target lost something. */
class LoseFlushedOnly extends OpenTracking {
  override targetLost(): void {
    this.log.drain((first, end) => this.markDirty(first, end))
  }
}

/** Believes that a flush covers what settled while it was under way. */
class FlushCoversAll extends OpenTracking {
  constructor(parts: TrackingParts, simulation: Simulation) {
    const { log } = parts
    const flushed = log.flushed.bind(log)
    super(
      { ...parts, log: Object.assign(log, { flushed: () => flushed(log.snapshot()) }) },
      simulation,
    )
  }
}

/** Clears bits without having noted that the target may still lose the writes. */
class NoFlushLog extends OpenTracking {
  constructor(parts: TrackingParts, simulation: Simulation) {
    super({ ...parts, log: Object.assign(parts.log, { append: () => true }) }, simulation)
  }
}

class KeepAbandonedBits extends OpenTracking {
  override abandon(): void {}
}

function withLock(Lock: new () => RangeLock): TrackingClass {
  return class extends OpenTracking {
    override readonly lock: RangeLock = new Lock()
  }
}

function rule(name: string, Rules: TrackingClass): Mutation {
  return { name, createTracking: (parts, simulation) => new Rules(parts, simulation) }
}

/** Exchanges a method of a class, for what cannot be passed in. */
function exchange(prototype: object, method: string, replacement: unknown): () => void {
  const original = Object.getOwnPropertyDescriptor(prototype, method)!
  Object.defineProperty(prototype, method, { ...original, value: replacement })
  return () => Object.defineProperty(prototype, method, original)
}

class ForgetUntracked extends MirrorFilter {
  override get untrackedCount(): number {
    return 0
  }
}

export const MUTATIONS: readonly Mutation[] = [
  rule('bits are set before a background write only', SetBeforeOnly),
  rule('bits are set after a background write, on success only', SetAfterSuccessOnly),
  rule('bits are set after a background write only', SetAfterOnly),
  rule('bits are cleared under background writes', ClearUnderWrites),
  rule('bits are cleared after the source was read', ClearAfterRead),
  rule('runs being copied are not claimed', NoClaims),
  rule('a copy that failed counts as done', IgnoreCopyFailures),
  rule('the copier does not lock', withLock(UnlockedCopier)),
  rule('guest writes do not lock', withLock(UnlockedGuest)),
  rule('a late write lets go of its range', withLock(ImpatientLock)),
  rule('chunks covered in part become clean', RoundOutward),
  rule('chunks at the ends count as clean before', ForgetEnds),
  rule('bits are not set before a write-blocking write', TrustBlocking),
  rule('a write that failed on the target counts as mirrored', IgnoreTargetFailures),
  rule('background writes do not taint write-blocking ones', IgnoreTaint),
  rule('a target that was lost has kept everything', IgnoreLoss),
  rule('what was in flight when the target was lost has been kept', LoseFlushedOnly),
  rule('a flush covers what settled while it was under way', FlushCoversAll),
  rule('what the target has not flushed is not remembered', NoFlushLog),
  rule('bits of a concluded job are believed', KeepAbandonedBits),
  {
    name: 'writes that began before tracking are forgotten',
    createFilter: (next, clock) => new ForgetUntracked(next, clock),
  },
  {
    name: 'the target is not flushed before switchover',
    patch: () => exchange(Switchover.prototype, 'flushTarget', () => Promise.resolve(0)),
  },
  {
    name: 'clients are not held at switchover',
    patch: () => exchange(Gate.prototype, 'quiesceWithin', () => Promise.resolve()),
  },
  {
    name: 'nobody looks at the stall budget',
    patch: () => exchange(Deadlines.prototype, 'enter', () => {}),
  },
  {
    name: 'memory is reused while the target is being sent it',
    patch: () => {
      const restoreLend = exchange(Request.prototype, 'lend', () => {})
      const restoreGiveBack = exchange(Request.prototype, 'giveBack', () => {})
      return () => {
        restoreLend()
        restoreGiveBack()
      }
    },
  },
]

/**
 * Wrong-looking, and yet harmless on their own: another rule covers for each. Said here so that
 * nobody counts them as proven.
 */
export const COVERED: readonly Mutation[] = [
  // The bits were set before, and nobody clears them under a write in flight.
  rule(
    'bits are not set again when a background write settles',
    class extends OpenTracking {
      override settleBackground(write: TrackedWrite): void {
        this.withoutBits(() => super.settleBackground(write))
      }
    },
  ),
  // A stalled write is late on the target, so it has not settled there when the guest is answered.
  rule('a stalled write may still make its chunks clean', ForgetStalls),
  // Its own stall budget bounds the wait, and then it follows the background rule too.
  {
    name: 'a request that met a late range waits for it',
    patch: () => exchange(RangeLock.prototype, 'isLate', () => false),
  },
]
