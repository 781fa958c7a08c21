/**
 * The destination's end of the relay: between the other host and `xl migrate-receive`. It passes
 * everything through but four things. `ready` waits until the journal has room for what is to come.
 * Permission to start reaches xl once at most, and only after this host has journalled that it owns
 * the disks. The report waits until the journal agrees with it; and permission to resume goes back
 * only when this host's claim is gone for good.
 *
 * Invariant: xl hears permission to start if and only if the owner was asked to accept and said
 * yes; and the other host hears permission to resume only after a refusal or a hand-back was
 * journalled.
 *
 * xl has to say its piece even when nobody listens any more: if its report cannot be written, it
 * leaves its domain paused and does not destroy it. So what it writes is read to its end, come what
 * may.
 */
import { messageOf, REPORT_SUCCESS, RelayEnd, type RelayMachine } from './relay-machine.ts'
import { BANNER, FixedMessage, GO, READY, REPORT } from './xl-messages.ts'

/**
 * `prepare`: the domain is whole; make sure that accepting cannot fail for want of room. `accept`:
 * journal that this host owns the disks. `refuse`: permission has not come and will not be passed
 * on; journal that. `settle`: the guest runs. `hand-back`: it does not, and xl has destroyed its
 * domain; journal that the disks are not ours, whether they were accepted or not.
 */
export type DestinationQuestion = 'prepare' | 'accept' | 'refuse' | 'settle' | 'hand-back'

type State =
  | 'banner'
  | 'ready'
  | 'preparing'
  | 'go'
  | 'accepting'
  | 'report'
  | 'permission'
  | 'asking'
  | 'drain'
  | 'done'

/** Before xl has permission, and while it may still be refused. */
const REFUSABLE: readonly State[] = ['banner', 'ready', 'preparing', 'go']

export class DestinationRelay
  extends RelayEnd<DestinationQuestion>
  implements RelayMachine<DestinationQuestion>
{
  #state: State = 'banner'
  /** The next message of xl. */
  #message = new FixedMessage(BANNER)
  readonly #go = new FixedMessage(GO)
  #report = -1
  #hasAccepted = false
  #isXlGone = false
  #isXlEnded = false

  /** The journal has said yes to owning the disks, and has not taken it back since. */
  get hasAccepted(): boolean {
    return this.#hasAccepted
  }

  /** xl has not ended for too long; whoever started it must see to it. */
  expire(): void {
    if (this.#state !== 'drain' && this.#state !== 'report' && this.#state !== 'permission') return
    this.note('xl does not end')
    this.#finish()
  }

  fromLink(chunk: Uint8Array): void {
    if (this.isLinkGone) return
    if (this.#state === 'banner' || this.#state === 'ready') this.output.toXl(chunk)
    else if (this.#state === 'preparing') this.#refuse('the source wrote before it was told to')
    else if (this.#state === 'go') this.#takeGo(chunk)
    // Behind permission there is nothing; a second one never reaches xl.
  }

  #takeGo(chunk: Uint8Array): void {
    if (this.#go.take(chunk, 0) === -1) {
      this.#refuse('the source wrote something else than permission to start')
    } else if (this.#go.isWhole) {
      this.#state = 'accepting'
      this.ask('accept')
    }
  }

  linkEnded(): void {
    if (this.isLinkGone) return
    this.endLink()
    if (REFUSABLE.includes(this.#state)) this.#refuse('the connection to the source is lost')
    // Permission that has come is obeyed: the source cannot know, and will ask.
  }

  fromXl(chunk: Uint8Array): void {
    for (let offset = 0; offset < chunk.byteLength; ) {
      if (this.#isDeaf) return
      if (this.#state === 'go') {
        this.#refuse('xl gave up before it had permission to start')
      } else if (this.#message.isWhole) {
        this.#takeReport(chunk[offset++]!)
      } else {
        const count = this.#message.take(chunk, offset)
        if (count === -1) this.#xlIsWrong()
        else if (this.#message.isWhole) this.#messageIsWhole()
        offset += Math.abs(count)
      }
    }
  }

  /** xl says nothing while it waits for us; and once all is said, nothing counts. */
  get #isDeaf(): boolean {
    return this.#isAsking || this.#state === 'drain' || this.#state === 'done'
  }

  get #isAsking(): boolean {
    return this.#state === 'preparing' || this.#state === 'accepting' || this.#state === 'asking'
  }

  #messageIsWhole(): void {
    if (this.#state === 'banner') {
      this.toLink(BANNER)
      this.#message = new FixedMessage(READY)
      this.#state = 'ready'
    } else if (this.#state === 'ready') {
      this.#message = new FixedMessage(REPORT)
      this.#state = 'preparing'
      this.ask('prepare')
    } else if (this.#state === 'permission') {
      this.#state = 'asking'
      this.ask('hand-back')
    }
  }

  #takeReport(byte: number): void {
    this.#report = byte
    if (byte !== 0) {
      this.#message = new FixedMessage(GO)
      this.#state = 'permission'
    } else if (this.#hasAccepted) {
      this.#state = 'asking'
      this.ask('settle')
    } else {
      this.note('xl started the guest without permission')
      this.#drain()
    }
  }

  #xlIsWrong(): void {
    const problem = 'xl wrote something else than xl does'
    if (REFUSABLE.includes(this.#state)) this.#refuse(problem)
    else {
      // It may run the guest: the source gets no report and has to ask.
      this.note(problem)
      this.#drain()
    }
  }

  xlEnded(): void {
    if (this.#isXlGone) return
    this.#isXlGone = true
    if (REFUSABLE.includes(this.#state)) this.#refuse('xl ended before it had permission to start')
    else if (!this.#isAsking) this.#finish()
  }

  answered(question: DestinationQuestion): void {
    if (!this.isExpected(question)) return
    switch (question) {
      case 'prepare':
        this.#state = 'go'
        this.toLink(READY)
        return
      case 'accept':
        this.#hasAccepted = true
        this.#state = 'report'
        this.output.toXl(GO)
        if (this.#isXlGone) this.#finish()
        return
      case 'refuse':
        // The source has not heard of success, and takes back what it still holds, or asks.
        this.#drain()
        return
      case 'settle':
        this.#reportSuccess()
        return
      case 'hand-back':
        this.#hasAccepted = false
        this.toLink(Uint8Array.from([...REPORT, this.#report, ...GO]))
        this.#drain()
    }
  }

  failed(question: DestinationQuestion, error: unknown): void {
    if (!this.isExpected(question)) return
    this.note(`${question} failed: ${messageOf(error)}`)
    switch (question) {
      case 'prepare':
        this.#refuse('')
        return
      case 'accept':
        // It may be in the journal or not: xl goes without, and only a hand-back makes that sure.
        this.#endXl()
        this.#state = 'report'
        if (this.#isXlGone) this.#finish()
        return
      case 'settle':
        // The guest runs here, and the journal says that the disks are ours.
        this.#reportSuccess()
        return
      case 'refuse':
      case 'hand-back':
        // No word without a journal behind it: the source has to ask, or to wait.
        this.#drain()
    }
  }

  #reportSuccess(): void {
    this.toLink(REPORT_SUCCESS)
    this.#drain()
  }

  /** xl gets no permission, ever; it destroys its domain when its input ends. */
  #refuse(problem: string): void {
    if (problem !== '') this.note(problem)
    this.#state = 'asking'
    this.#endXl()
    this.ask('refuse')
  }

  /** Nothing is left to say to the other host; xl is read to its end. */
  #drain(): void {
    this.#state = 'drain'
    this.#endXl()
    this.endLink()
    if (this.#isXlGone) this.#finish()
  }

  #finish(): void {
    if (this.#state === 'done') return
    this.#state = 'done'
    this.#endXl()
    this.endLink()
    this.output.finish()
  }

  #endXl(): void {
    if (this.#isXlEnded) return
    this.#isXlEnded = true
    this.output.endXl()
  }
}
