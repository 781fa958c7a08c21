/** Range locks that do not do what a lock has to; for the mutations. */
import { CopyOperation } from '../../src/mirror/copy-operation.ts'
import { type RangeHold, RangeLock } from '../../src/mirror/range-lock.ts'

/** Grants the copier whatever it asks for. */
export class UnlockedCopier extends RangeLock {
  override acquire(hold: RangeHold): boolean {
    if (!(hold.owner instanceof CopyOperation)) return super.acquire(hold)
    hold.state = 'active'
    return true
  }

  override release(hold: RangeHold): void {
    if (hold.owner instanceof CopyOperation) hold.state = 'idle'
    else super.release(hold)
  }
}

/** Guest writes in write-blocking do not wait for each other. */
export class UnlockedGuest extends RangeLock {
  override acquire(hold: RangeHold): boolean {
    if (hold.owner instanceof CopyOperation) return super.acquire(hold)
    hold.state = 'active'
    return true
  }

  override release(hold: RangeHold): void {
    if (hold.owner instanceof CopyOperation) super.release(hold)
    else hold.state = 'idle'
  }

  override markLate(): void {}
}

/** Lets go of a late range at once. */
export class ImpatientLock extends RangeLock {
  override markLate(hold: RangeHold): void {
    super.release(hold)
    hold.state = 'active'
    hold.isLate = true
  }

  override release(hold: RangeHold): void {
    if (hold.isLate) {
      hold.isLate = false
      hold.state = 'idle'
    } else {
      super.release(hold)
    }
  }
}
