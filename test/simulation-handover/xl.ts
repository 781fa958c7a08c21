/**
 * Both ends of `xl migrate`, as they treat the guest. They die with their pipes, or by being
 * killed.
 */
import { BANNER, FixedMessage, GO, READY, REPORT } from '../../src/migration/xl-messages.ts'
import type { Guest } from './guest.ts'
import type { Pipe, World } from './world.ts'

const MEMORY_BYTES = 300

/** Reads fixed messages, one after another, and whatever comes instead of one. */
class Reader {
  #steps: { message: FixedMessage; whole: () => void }[] = []

  expect(bytes: Uint8Array, whole: () => void): void {
    this.#steps.push({ message: new FixedMessage(bytes), whole })
  }

  take(chunk: Uint8Array, wrong: () => void): void {
    for (let offset = 0; offset < chunk.byteLength; ) {
      const step = this.#steps[0]
      if (step === undefined) return
      const count = step.message.take(chunk, offset)
      if (count === -1) {
        wrong()
        return
      }
      offset += count
      if (!step.message.isWhole) return
      this.#steps.shift()
      step.whole()
    }
  }
}

export class SendingXl {
  isDead = false
  readonly #out: Pipe

  constructor(world: World, guest: Guest, input: Pipe, out: Pipe) {
    this.#out = out
    let isReadySeen = false
    const reader = new Reader()
    const fail = (): void => {
      if (this.isDead) return
      this.#exit()
      // Before it has read ready it resumes by itself, later it leaves the guest suspended.
      if (!isReadySeen) guest.resumeAtSource()
    }
    reader.expect(BANNER, () => {
      out.write(new Uint8Array(MEMORY_BYTES))
      world.after(world.between(1, 30), () => {
        if (this.isDead) return
        guest.suspend()
        out.write(new Uint8Array(1).fill(1))
      })
    })
    reader.expect(READY, () => {
      isReadySeen = true
      world.after(world.between(0, 2), () => {
        if (!this.isDead) out.write(GO)
      })
    })
    reader.expect(REPORT, () => {})
    input.take = chunk => {
      if (this.isDead) return
      const rest = this.#report(chunk, reader, guest, fail)
      if (rest) this.#exit()
    }
    input.ended = fail
  }

  #seen: number[] = []

  /** True at the end of the conversation. */
  #report(chunk: Uint8Array, reader: Reader, guest: Guest, fail: () => void): boolean {
    this.#seen.push(...chunk)
    reader.take(chunk, fail)
    const head = BANNER.length + READY.length + REPORT.length
    const byte = this.#seen[head]
    if (byte === 0) guest.destroyAtSource()
    if (byte === undefined || byte === 0) return byte === 0
    const permission = this.#seen.slice(head + 1, head + 1 + GO.length)
    if (permission.length < GO.length) return false
    if (permission.every((value, index) => value === GO[index])) guest.resumeAtSource()
    return true
  }

  kill(): void {
    if (!this.isDead) this.#exit()
  }

  #exit(): void {
    this.isDead = true
    this.#out.end()
  }
}

export class ReceivingXl {
  isDead = false
  readonly #out: Pipe

  constructor(world: World, guest: Guest, input: Pipe, out: Pipe) {
    this.#out = out
    let memory = 0
    let isDecided = false
    const reader = new Reader()
    const fail = (): void => {
      if (memory > MEMORY_BYTES) {
        out.write(Uint8Array.from([...REPORT, 3]))
        guest.destroyAtDestination()
        out.write(GO)
      }
      this.#exit()
    }
    /** Without permission; once it has come, the end of the input means nothing. */
    const giveUp = (): void => {
      if (this.isDead || isDecided) return
      isDecided = true
      fail()
    }
    reader.expect(GO, () => {
      if (isDecided) return
      isDecided = true
      const starts = !world.random.chance(0.25)
      world.after(world.between(0, 30), () => {
        if (this.isDead) return
        if (starts) {
          guest.runAtDestination()
          out.write(Uint8Array.from([...REPORT, 0]))
          this.#exit()
        } else {
          fail()
        }
      })
    })
    out.write(BANNER)
    input.take = chunk => {
      if (this.isDead) return
      const rest = Math.max(0, Math.min(chunk.byteLength, MEMORY_BYTES + 1 - memory))
      memory += rest
      if (rest > 0 && memory === MEMORY_BYTES + 1) {
        if (world.random.chance(0.1)) return this.#exit()
        guest.pauseAtDestination()
        out.write(READY)
      }
      reader.take(chunk.subarray(rest), giveUp)
    }
    input.ended = giveUp
  }

  kill(): void {
    if (!this.isDead) this.#exit()
  }

  #exit(): void {
    this.isDead = true
    this.#out.end()
  }
}
