/**
 * What both ends of the relay have in common. A machine gets bytes and ends, and says what to do:
 * bytes to pass on, ends to close, questions to its owner. It makes no call and owns no stream, so
 * that tests can cut and delay everything. One question counts at a time; the answer to one that
 * something else has overtaken is ignored. Bytes that it passes on are views of what came in.
 */
import { GO, REPORT } from './xl-messages.ts'

/** What a machine has to say; called inside its own methods, never later. */
export interface RelayOutput<Question extends string> {
  toXl(bytes: Uint8Array): void
  toLink(bytes: Uint8Array): void
  /** No more bytes for xl. At the source none are wanted of it either: its writes fail. */
  endXl(): void
  /** No more bytes for the other host, and none wanted. */
  endLink(): void
  ask(question: Question): void
  finish(): void
}

export interface RelayMachine<Question extends string> {
  /** Bytes that this host's xl wrote. */
  fromXl(chunk: Uint8Array): void
  /** Bytes of the other host. */
  fromLink(chunk: Uint8Array): void
  /** xl has closed its end, or is gone. */
  xlEnded(): void
  linkEnded(): void
  /** The open question was answered with yes, or with what it asks for. */
  answered(question: Question, answer?: unknown): void
  failed(question: Question, error: unknown): void
  /** Nothing has happened for too long after the link was ended. */
  expire(): void
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The exit code in a report that the relay makes up: xl's ERROR_FAIL. */
const MADE_UP_FAILURE = 3

/** Report of success. */
export const REPORT_SUCCESS: Uint8Array = Uint8Array.from([...REPORT, 0])
/** Report of failure and permission to resume: after it xl takes its domain back by itself. */
export const REPORT_FAILURE: Uint8Array = Uint8Array.from([...REPORT, MADE_UP_FAILURE, ...GO])

/** The bookkeeping of a machine: the question that counts, the link, and what went wrong. */
export abstract class RelayEnd<Question extends string> {
  protected readonly output: RelayOutput<Question>
  /** The other host cannot hear or be heard, or is not to be. */
  protected isLinkGone = false
  #asked: Question | undefined
  #problem: string | undefined

  constructor(output: RelayOutput<Question>) {
    this.output = output
  }

  /** Why it did not go well; undefined if it did. */
  get problem(): string | undefined {
    return this.#problem
  }

  protected note(problem: string): void {
    if (this.#problem === undefined) this.#problem = problem
    else if (!this.#problem.includes(problem)) this.#problem += `; ${problem}`
  }

  protected ask(question: Question): void {
    this.#asked = question
    this.output.ask(question)
  }

  /** True once for the question that counts: an overtaken one has no say any more. */
  protected isExpected(question: Question): boolean {
    if (this.#asked !== question) return false
    this.#asked = undefined
    return true
  }

  /** Goes nowhere once the link is gone. */
  protected toLink(bytes: Uint8Array): void {
    if (!this.isLinkGone) this.output.toLink(bytes)
  }

  protected endLink(): void {
    if (this.isLinkGone) return
    this.isLinkGone = true
    this.output.endLink()
  }
}
