/**
 * The source's end of the relay: between `xl migrate` and the other host. It passes everything
 * through but three things (and a configuration that is not the session's). `ready` waits until
 * the disks are sealed. Permission to start leaves once at most, and only after the owner has
 * journalled that the disks are given away: the point of no return. And the destination's report
 * waits until it is known what it means.
 *
 * Invariant: permission has left if and only if the owner was asked to give away and said yes; and
 * xl hears of success only if the destination owns, of failure only if the source does.
 *
 * xl resumes its guest by itself if the stream ends before it has read `ready`. Once it has, it
 * wants a report; if permission never left, the relay makes one up that says failed, and xl
 * resumes.
 */
import type { Outcome } from './phases.ts'
import {
  messageOf,
  REPORT_FAILURE,
  REPORT_SUCCESS,
  RelayEnd,
  type RelayMachine,
  type RelayOutput,
} from './relay-machine.ts'
import type { XlConfigRewriter } from './xl-config.ts'
import { BANNER, FixedMessage, GO, READY, REPORT } from './xl-messages.ts'

/**
 * `seal`: the destination is whole; yes once no write gets through here any more and the copies are
 * equal. `give-away`: journal it; no means that nothing was or will be journalled. `take-back`:
 * journal that the source owns, unseal, let the guest go on; harmless where nothing was sealed.
 * `confirm`: the destination runs the guest; fence the disks. `resolve`: permission has left and no
 * clear report came; the answer is an Outcome.
 */
export type SourceQuestion = 'seal' | 'give-away' | 'take-back' | 'confirm' | 'resolve'

/**
 * `asking` and `withheld`: permission has not left and never will, or the destination is done;
 * until then the names say what is waited for.
 */
type State =
  | 'banner'
  | 'ready'
  | 'sealing'
  | 'go'
  | 'giving'
  | 'report'
  | 'permission'
  | 'asking'
  | 'withheld'
  | 'done'

/** Permission may still be withheld, whatever the owner is doing. */
const CANCELLABLE: readonly State[] = ['banner', 'ready', 'sealing', 'go']

export class SourceRelay extends RelayEnd<SourceQuestion> implements RelayMachine<SourceQuestion> {
  #state: State = 'banner'
  /** The next message of the destination. */
  #message = new FixedMessage(BANNER)
  readonly #go = new FixedMessage(GO)
  readonly #rewriter: XlConfigRewriter | undefined
  #isReadyForwarded = false
  #isGoForwarded = false
  #isGoWrong = false
  #isXlGone = false
  #outcome: Outcome = 'source-owns'

  /** `rewriter`: of the configuration at the head of what xl sends. */
  constructor(output: RelayOutput<SourceQuestion>, rewriter?: XlConfigRewriter) {
    super(output)
    this.#rewriter = rewriter
  }

  /** Who owns the disks; final once `finish` was called. */
  get outcome(): Outcome {
    return this.#outcome
  }

  /** Permission to start has left this host. */
  get isGoForwarded(): boolean {
    return this.#isGoForwarded
  }

  /** Ends it in favour of the source; false, and nothing happens, past the point of no return. */
  cancel(): boolean {
    if (!CANCELLABLE.includes(this.#state)) return false
    this.#withhold('cancelled')
    return true
  }

  /** xl has not written for too long what only it can write. */
  expire(): void {
    if (this.#state !== 'withheld') return
    this.note('xl waits for nothing that it could be told')
    this.#end()
  }

  fromXl(chunk: Uint8Array): void {
    if (this.#state === 'banner' || this.#state === 'ready') this.#passOn(chunk)
    else if (this.#state === 'sealing') this.#withhold('xl wrote before it was told to')
    else if (this.#isReadyForwarded) this.#takeGo(chunk)
  }

  #passOn(chunk: Uint8Array): void {
    try {
      this.toLink(this.#rewriter?.take(chunk) ?? chunk)
    } catch (error) {
      this.#withhold(messageOf(error))
    }
  }

  /** Permission, in whatever state: a second one, and what is behind it, never leaves. */
  #takeGo(chunk: Uint8Array): void {
    if (this.#go.isWhole || this.#isGoWrong || this.#state === 'done') return
    this.#isGoWrong = this.#go.take(chunk, 0) === -1
    if (this.#isGoWrong && this.#state === 'go') {
      this.#withhold('xl wrote something else than permission to start')
    } else if (this.#isGoWrong && this.#state === 'withheld') {
      this.#end()
    } else if (this.#go.isWhole && this.#state === 'go') {
      this.#state = 'giving'
      this.ask('give-away')
    } else if (this.#go.isWhole && this.#state === 'withheld') {
      this.#resumeXl()
    }
  }

  fromLink(chunk: Uint8Array): void {
    for (let offset = 0; offset < chunk.byteLength && !this.isLinkGone; ) {
      if (this.#state === 'asking' || this.#state === 'withheld' || this.#state === 'done') return
      if (this.#state === 'sealing' || this.#state === 'go' || this.#state === 'giving') {
        this.#linkFails('the destination gave up before it had permission to start')
      } else if (this.#message.isWhole) {
        this.#takeReport(chunk[offset++]!)
      } else {
        const count = this.#message.take(chunk, offset)
        if (count === -1) this.#linkFails('the destination wrote something else than xl does')
        else if (this.#message.isWhole) this.#messageIsWhole()
        offset += Math.abs(count)
      }
    }
  }

  #messageIsWhole(): void {
    if (this.#state === 'banner') {
      this.output.toXl(BANNER)
      this.#message = new FixedMessage(READY)
      this.#state = 'ready'
    } else if (this.#state === 'ready') {
      this.#state = 'sealing'
      this.ask('seal')
    } else if (this.#state === 'permission') {
      this.note('the guest did not start at the destination')
      this.#takeBack()
    }
    // A report has its byte behind it.
  }

  #takeReport(byte: number): void {
    if (byte === 0) {
      this.#outcome = 'destination-owns'
      this.#state = 'asking'
      this.ask('confirm')
    } else {
      // Held back: without permission to resume it may yet turn out that the destination owns.
      this.#message = new FixedMessage(GO)
      this.#state = 'permission'
    }
  }

  xlEnded(): void {
    if (this.#isXlGone) return
    this.#isXlGone = true
    if (this.#state === 'withheld') this.#end()
    // Permission that is not whole was never given; one that is goes its way without xl.
    else if (CANCELLABLE.includes(this.#state)) {
      this.#withhold('xl ended before it gave permission to start')
    }
  }

  linkEnded(): void {
    if (!this.isLinkGone) this.#linkFails('the connection to the destination is lost')
  }

  #linkFails(problem: string): void {
    this.note(problem)
    this.endLink()
    if (this.#state === 'report' || this.#state === 'permission') {
      this.#outcome = 'undefined'
      this.#state = 'asking'
      this.ask('resolve')
    } else if (CANCELLABLE.includes(this.#state)) {
      this.#withhold(problem)
    }
    // While giving: the answer comes first, and then permission is withheld.
  }

  /** Permission has not left and never will. */
  #withhold(problem: string): void {
    this.note(problem)
    this.endLink()
    this.#takeBack()
  }

  #takeBack(): void {
    this.#state = 'asking'
    this.ask('take-back')
  }

  answered(question: SourceQuestion, answer?: unknown): void {
    if (!this.isExpected(question)) return
    switch (question) {
      case 'seal':
        this.#state = 'go'
        this.#message = new FixedMessage(REPORT)
        this.#isReadyForwarded = true
        this.output.toXl(READY)
        return
      case 'give-away':
        this.#giveAway()
        return
      case 'take-back':
        this.#tookBack()
        return
      case 'confirm':
        this.#succeed()
        return
      case 'resolve':
        this.#resolved(answer as Outcome)
    }
  }

  failed(question: SourceQuestion, error: unknown): void {
    if (!this.isExpected(question)) return
    this.note(`${question} failed: ${messageOf(error)}`)
    switch (question) {
      case 'seal':
      case 'give-away':
        this.endLink()
        this.#takeBack()
        return
      case 'take-back':
        // A guest must not run on a disk that is not its own: xl gets no leave to resume.
        this.#outcome = 'undefined'
        this.#end()
        return
      case 'confirm':
        this.#succeed()
        return
      case 'resolve':
        this.#end()
    }
  }

  #giveAway(): void {
    if (this.isLinkGone) {
      this.#takeBack()
      return
    }
    this.#isGoForwarded = true
    this.#outcome = 'undefined'
    this.#state = 'report'
    this.toLink(GO)
  }

  #tookBack(): void {
    this.#outcome = 'source-owns'
    const canResume = this.#isReadyForwarded && !this.#isXlGone && !this.#isGoWrong
    if (!canResume) this.#end()
    else if (this.#go.isWhole) this.#resumeXl()
    // xl listens for a report only after it has written permission.
    else this.#state = 'withheld'
  }

  #resumeXl(): void {
    this.output.toXl(REPORT_FAILURE)
    this.#end()
  }

  #resolved(outcome: Outcome): void {
    this.#outcome = outcome
    if (outcome === 'destination-owns') this.ask('confirm')
    else if (outcome === 'source-owns') this.#takeBack()
    else this.#end()
  }

  #succeed(): void {
    this.output.toXl(REPORT_SUCCESS)
    this.#end()
  }

  #end(): void {
    this.#state = 'done'
    this.endLink()
    this.output.endXl()
    this.output.finish()
  }
}
