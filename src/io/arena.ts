/**
 * Slots for payloads, made once, in size classes. A slot is room for a wire header, then
 * page-aligned room for the payload, with nothing in between: header and payload leave as one
 * piece, and O_DIRECT is always possible. The arena owns the mapping; a slot belongs to whoever
 * acquired it until it is released. Acquire and release allocate nothing.
 *
 *   class of payload 4096:   |....... header|payload 4096|....... header|payload 4096|
 *                             page           page         page           page
 */
import assert from 'node:assert'
import { type Memory, PAGE_SIZE } from './memory.ts'
import { mapAnonymous, releasePages, unmap } from './mmap.ts'

/** Bytes in front of a slot's payload. */
export const HEADROOM = 64
/**
 * Slots with a payload from this size on give their pages back on release: they are rare and would
 * dominate the RSS (bytes).
 */
export const RETURNED_PAYLOAD_MIN = 4 * 1024 * 1024

export interface SlotClass {
  /** Bytes; a multiple of the page size. */
  readonly payload: number
  readonly count: number
}

/** `bytes[HEADROOM]` is the first byte of the payload; a header of n bytes goes at HEADROOM - n. */
export interface Slot extends Memory {
  /** The headroom, `HEADROOM` bytes. */
  readonly header: DataView
  /** Most bytes of payload. */
  readonly capacity: number
}

class ArenaSlot implements Slot {
  readonly bytes: Uint8Array
  readonly address: number
  readonly header: DataView
  readonly capacity: number
  readonly stack: Stack
  /** Whose it is, if one of several users took it. */
  share: ArenaShare | undefined = undefined
  isFree = true

  constructor(mapping: Memory, payloadAt: number, stack: Stack) {
    const start = mapping.bytes.byteOffset + payloadAt - HEADROOM
    this.bytes = new Uint8Array(mapping.bytes.buffer, start, HEADROOM + stack.capacity)
    this.header = new DataView(mapping.bytes.buffer, start, HEADROOM)
    this.address = mapping.address + payloadAt - HEADROOM
    this.capacity = stack.capacity
    this.stack = stack
  }
}

/** How many slots one of several users has, class by class. */
export type ArenaShare = Uint16Array

/** The free slots of one class, the warmest on top. */
class Stack {
  readonly index: number
  readonly capacity: number
  readonly slots: (ArenaSlot | undefined)[]
  free = 0

  constructor({ payload, count }: SlotClass, index: number) {
    this.index = index
    this.capacity = payload
    this.slots = new Array<ArenaSlot | undefined>(count).fill(undefined)
  }
}

export class Arena {
  readonly #mapping: Memory
  readonly #stacks: readonly Stack[]
  /** Largest payload a slot can hold (bytes). */
  readonly payloadMax: number

  /** Maps the memory; pages are taken when they are touched. Throws if there is none. */
  constructor(classes: readonly SlotClass[]) {
    assert(classes.length > 0, 'arena: at least one class')
    for (const { payload, count } of classes) {
      assert(payload > 0 && payload % PAGE_SIZE === 0, 'arena: payloads are whole pages')
      assert(Number.isSafeInteger(count) && count > 0, 'arena: a class has slots')
    }
    const ascending = classes.toSorted((a, b) => a.payload - b.payload)
    const total = ascending.reduce((sum, c) => sum + (PAGE_SIZE + c.payload) * c.count, 0)
    this.#mapping = mapAnonymous(total)
    this.#stacks = ascending.map((c, index) => new Stack(c, index))
    this.payloadMax = ascending.at(-1)!.payload
    let at = 0
    for (const stack of this.#stacks) {
      while (stack.free < stack.slots.length) {
        stack.slots[stack.free++] = new ArenaSlot(this.#mapping, at + PAGE_SIZE, stack)
        at += PAGE_SIZE + stack.capacity
      }
    }
  }

  /** For one of several users, of whom none shall be able to take everything. */
  createShare(): ArenaShare {
    return new Uint16Array(this.#stacks.length)
  }

  /**
   * The smallest free slot whose payload holds `length` bytes; undefined if every such slot is
   * taken. Contents are arbitrary. With a share, only from a class of which more slots are free
   * than the share has: however many users keep what they have, the next one finds some.
   */
  acquire(length: number, share?: ArenaShare): Slot | undefined {
    assert(length <= this.payloadMax, 'arena: no class is large enough')
    for (const stack of this.#stacks) {
      if (stack.capacity < length || stack.free === 0) continue
      if (share !== undefined && share[stack.index]! >= stack.free) continue
      const slot = stack.slots[--stack.free]!
      stack.slots[stack.free] = undefined
      slot.isFree = false
      slot.share = share
      if (share !== undefined) share[stack.index]!++
      return slot
    }
    return undefined
  }

  /** Takes a slot back; nothing may be under way in it. */
  release(slot: Slot): void {
    assert(
      slot instanceof ArenaSlot && slot.bytes.buffer === this.#mapping.bytes.buffer,
      'arena: not its slot',
    )
    assert(!slot.isFree, 'arena: slot released twice')
    slot.isFree = true
    if (slot.capacity >= RETURNED_PAYLOAD_MIN) releasePages(slot.address + HEADROOM, slot.capacity)
    const { stack, share } = slot
    if (share !== undefined) share[stack.index]!--
    slot.share = undefined
    stack.slots[stack.free++] = slot
  }

  /** Unmaps everything. All slots must have been released. */
  close(): void {
    for (const stack of this.#stacks) {
      assert(stack.free === stack.slots.length, 'arena: closed with slots in use')
    }
    unmap(this.#mapping)
  }
}
