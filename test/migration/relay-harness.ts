/** Drives one relay machine by hand: notes what it says, and which questions are open. */
import type { RelayMachine, RelayOutput } from '../../src/migration/relay-machine.ts'

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
