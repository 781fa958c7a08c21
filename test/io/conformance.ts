/**
 * What both engines promise, as a suite. Results are the kernel's, so the tests compare numbers:
 * counts, 0, negative errnos. The engine under test shares the thread with the test runner, which
 * is part of what is tested: nothing may starve.
 */
import { afterAll, beforeAll, describe } from 'vitest'
import type { Engine, Gather, Operation } from '../../src/io/engine.ts'
import type { Memory } from '../../src/io/memory.ts'
import { type Temporary, temporary } from '../support/temporary.ts'
import { testClosing } from './conformance/closing.ts'
import { testEventLoop } from './conformance/event-loop.ts'
import { testFiles } from './conformance/files.ts'
import { testReceiving } from './conformance/receiving.ts'
import { testRefusals } from './conformance/refusals.ts'
import { testSending } from './conformance/sending.ts'
import { testSpace } from './conformance/space.ts'
import { testTimers } from './conformance/timers.ts'
import { type Pairs, PLAIN } from './sockets.ts'

export type OpenEngine = () => Engine

/** What the parts of the suite share. Filled before the first test runs. */
export interface Subject {
  engine: Engine
  folder: Temporary
  readonly pairs: Pairs
}

export function describeEngine(name: string, open: OpenEngine): void {
  describe(name, () => {
    const subject = { pairs: PLAIN } as Subject
    beforeAll(async () => {
      subject.engine = open()
      subject.folder = await temporary('/var/tmp')
    })
    afterAll(async () => {
      await subject.engine.close()
      await subject.folder[Symbol.asyncDispose]()
    })

    describe('files', () => testFiles(subject))
    describe('space', () => testSpace(subject))
    describe('receiving', () => testReceiving(subject))
    describe('sending', () => testSending(subject))
    describe('timers', () => testTimers(subject))
    describe('event loop', () => testEventLoop(subject))
    describe('refusals', () => testRefusals(subject))
    describe('closing', () => testClosing(open, PLAIN))
  })
}

/** The part that sockets promise, for sockets of another kind. */
export function describeSockets(name: string, open: OpenEngine, pairs: Pairs): void {
  describe(name, () => {
    const subject = { pairs } as Subject
    beforeAll(() => {
      subject.engine = open()
    })
    afterAll(() => subject.engine.close())

    describe('receiving', () => testReceiving(subject))
    describe('sending', () => testSending(subject))
    describe('closing', () => testClosing(open, pairs))
  })
}

/**
 * Starts one operation and resolves with its result; fails if it settles inside the call or twice.
 */
export function result(start: (operation: Operation) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    let isInside = true
    let settled = 0
    start({
      settle(outcome) {
        if (isInside) reject(new Error('settled inside the call'))
        if (++settled > 1) throw new Error('settled twice')
        resolve(outcome)
      },
    })
    isInside = false
  })
}

/** A gather over whole memories. */
export function gatherOf(engine: Engine, ...memories: readonly Memory[]): Gather {
  const gather = engine.createGather(Math.max(1, memories.length))
  for (const memory of memories) gather.push(memory, 0, memory.bytes.length)
  return gather
}

/** Fills with bytes that tell their place, so that shifts and swaps show. */
export function pattern(bytes: Uint8Array, seed = 0): Uint8Array {
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = (i * 31 + (i >> 8) * 7 + (i >> 16) + seed) & 0xff
  return bytes
}
