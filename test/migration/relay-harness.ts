/** Drives one relay machine by hand: notes what it says, and which questions are open. */
import type { RelayMachine, RelayOutput } from '../../src/migration/relay-machine.ts'
import { REPORT } from '../../src/migration/xl-messages.ts'

/** What xl sends before its messages, with one of them inside. */
export const MEMORY = Buffer.from(
  'any bytes at all, and domain is yours, you are cleared to unpause\0 too',
)
export const FAILED = Uint8Array.from([...REPORT, 3])
export const SUCCEEDED = Uint8Array.from([...REPORT, 0])

export class Harness<Question extends string, M extends RelayMachine<Question>>
  implements RelayOutput<Question>
{
  readonly machine: M
  /** What was said, in order: `ask seal`, `end xl`, ... */
  readonly events: string[] = []
  readonly xl: number[] = []
  readonly link: number[] = []

  constructor(create: (output: RelayOutput<Question>) => M) {
    this.machine = create(this)
  }

  toXl(bytes: Uint8Array): void {
    if (this.events.includes('end xl')) throw new Error('bytes for xl after its end')
    this.xl.push(...bytes)
  }

  toLink(bytes: Uint8Array): void {
    if (this.events.includes('end link')) throw new Error('bytes for the link after its end')
    this.link.push(...bytes)
  }

  endXl(): void {
    this.events.push('end xl')
  }

  endLink(): void {
    this.events.push('end link')
  }

  ask(question: Question): void {
    this.events.push(`ask ${question}`)
  }

  finish(): void {
    this.events.push('finish')
  }

  /** Everything that happened, with texts instead of bytes. */
  get said(): { events: string; xl: string; link: string } {
    const text = (bytes: readonly number[]): string => Buffer.from(bytes).toString('latin1')
    return { events: this.events.join(', '), xl: text(this.xl), link: text(this.link) }
  }
}

/** As latin1 text, so that differences can be read. */
export const textOf = (...messages: readonly Uint8Array[]): string =>
  Buffer.concat(messages).toString('latin1')

/** Feeds `bytes` in pieces of `size`. */
export function inPieces(bytes: Uint8Array, size: number, feed: (piece: Uint8Array) => void): void {
  for (let at = 0; at < bytes.byteLength; at += size) feed(bytes.slice(at, at + size))
}

/** A relay that has gone through `steps` up to and with the one of that name, and its two ends. */
export function relayAt<
  Question extends string,
  M extends RelayMachine<Question>,
  S extends string,
>(
  stage: S,
  size: number,
  create: (output: RelayOutput<Question>) => M,
  stepsOf: (ends: Ends<M>) => Readonly<Record<S, () => void>>,
) {
  const harness = new Harness<Question, M>(create)
  const { machine } = harness
  const ends: Ends<M> = {
    machine,
    link: bytes => inPieces(bytes, size, piece => machine.fromLink(piece)),
    xl: bytes => inPieces(bytes, size, piece => machine.fromXl(piece)),
  }
  const steps = stepsOf(ends)
  const stages = Object.keys(steps) as S[]
  for (const one of stages.slice(0, stages.indexOf(stage) + 1)) steps[one]()
  return { harness, ...ends }
}

/** Both sides of a relay, fed in pieces. */
export interface Ends<M> {
  readonly machine: M
  readonly link: (bytes: Uint8Array) => void
  readonly xl: (bytes: Uint8Array) => void
}
