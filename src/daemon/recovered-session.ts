/**
 * A session of the source whose daemon has crashed, or whose host was rebooted: it can only be
 * brought to its end. What the crash left is undone or finished, as the journal says.
 */

import { ControlError } from '../control/control-error.ts'
import type { Outcome } from '../migration/phases.ts'
import type { RelayRoute, SshAccess } from './messages.ts'
import type { Peer } from './peer.ts'
import { endProcess } from './processes.ts'
import { type SessionContext, SessionFolder, untilDone } from './session-context.ts'
import { SessionProgress } from './session-progress.ts'
import type { RecordedDisk, SessionRecord } from './session-record.ts'
import {
  type DiskState,
  type DiskStatus,
  restingStatus,
  type SessionStatus,
} from './session-status.ts'
import type { EndingDisk } from './source-disk.ts'
import { closeWhenTold, SourceEnd } from './source-end.ts'

/** xl ends by itself when it finds that its relay has no daemon. */
const XL_GRACE_MS = 5000

export class RecoveredSession {
  readonly session: string
  readonly domain: string
  readonly finished: Promise<void>
  readonly #context: SessionContext
  readonly #record: SessionRecord
  readonly #peer: Peer
  readonly #progress: SessionProgress
  readonly #end: SourceEnd
  readonly #disks: readonly RecoveredDisk[]

  constructor(context: SessionContext, record: SessionRecord, peer: Peer) {
    const { session, domain, domid, uuid, disks } = record
    this.session = session
    this.domain = domain
    this.#context = context
    this.#record = record
    this.#peer = peer
    const about = { session, side: 'source', domain, peer: record.peer } as const
    // Whatever it was in: from here every end can follow.
    this.#progress = new SessionProgress(about, 'switchover')
    this.#progress.fail('the daemon ended in mid-session and was started again')
    this.#progress.enterMemory('ended')
    this.#disks = disks.map(disk => new RecoveredDisk(context, session, disk))
    const options = { session, guest: { domid: domid ?? 0, domain, uuid, disks }, peer }
    this.#end = new SourceEnd(context, this.#progress, options)
    this.finished = this.#run()
  }

  async #run(): Promise<void> {
    const { log, records } = this.#context
    await untilDone(log, async () => {
      const { processes } = this.#record
      await Promise.all(processes.map(mark => endProcess(mark, XL_GRACE_MS)))
      return true
    })
    await this.#end.run(this.#disks, undefined, this.#record.processes.length > 0)
    await closeWhenTold(this.#end, this.#peer, log)
    records.remove(this.session)
    // The key is in there.
    SessionFolder.removeOf(this.#context.host.runFolder, this.session)
  }

  get isOver(): boolean {
    return this.#progress.isOver
  }

  has(disk: string): boolean {
    return this.#disks.some(one => one.disk === disk)
  }

  async leave(disk: string): Promise<void> {
    if (this.#end.isHandedOver) await this.#disks.find(one => one.disk === disk)?.discard()
  }

  cancel(): void {
    throw this.#noError('cannot be cancelled, it is being brought to its end')
  }

  async resolve(force: Outcome | null, ssh?: SshAccess): Promise<void> {
    await this.#end.resolve(force, ssh)
  }

  attend(): Promise<void> {
    throw this.#noError('needs no relay')
  }

  /** Nothing is under way that could be ended any sooner. */
  abort(): void {}

  sent(): void {}

  route(): Promise<RelayRoute> {
    throw this.#noError('needs no relay')
  }

  answer(): Promise<Outcome | null> {
    throw this.#noError('needs no relay')
  }

  #noError(problem: string): ControlError {
    return ControlError.refuse('wrong-state', `session ${this.session} ${problem}`)
  }

  status(): SessionStatus {
    return this.#progress.status({
      disks: this.#disks.map(one => one.status()),
      isCleaningUp: !this.isOver,
      isCancellable: false,
    })
  }
}

class RecoveredDisk implements EndingDisk {
  readonly vdev: string
  readonly disk: string
  readonly size: number
  readonly epoch: number
  readonly #context: SessionContext
  readonly #session: string
  /** Nothing of the crash is in the path any more. */
  #isClean = false
  #state: DiskState

  constructor(context: SessionContext, session: string, { vdev, disk, size, epoch }: RecordedDisk) {
    this.vdev = vdev
    this.disk = disk
    this.size = size
    this.epoch = epoch
    this.#context = context
    this.#session = session
    const { role } = context.journal.holding(disk)
    this.#state = role === 'sealed' || role === 'given-away' ? 'sealed' : 'copying'
  }

  async unseal(): Promise<void> {
    await this.#cleanUp('restore')
    this.#state = 'restored'
  }

  async discard(): Promise<void> {
    await this.#cleanUp('discard')
    this.#state = 'handed-over'
  }

  /** Throws if it cannot be found out what there is: that is not the same as nothing. */
  async #cleanUp(outcome: 'restore' | 'discard'): Promise<void> {
    if (this.#isClean) return
    const { host, log } = this.#context
    const found = await host.findLeftovers(log)
    const left = found.find(one => one.session === this.#session && one.disk === this.vdev)
    if (left !== undefined) await host.cleanUp(left, outcome, log)
    this.#isClean = true
  }

  async stop(): Promise<void> {}

  status(): DiskStatus {
    const { vdev, disk, size } = this
    return restingStatus({ vdev, disk, size, state: this.#state })
  }
}
