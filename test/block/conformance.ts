/**
 * What every block device promises, as a suite: a new leaf, filter or chain gets all of it for one
 * line. The device under test is driven through `checked`, as everything is; what it does not offer
 * is skipped by its `info`.
 */
import { afterAll, beforeAll, describe } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import type { BlockDevice } from '../../src/block/device.ts'
import { Facade, type MemorySource } from '../../src/block/facade.ts'
import { testBlockStatus } from './conformance/block-status.ts'
import { testClosing } from './conformance/closing.ts'
import { testDurability } from './conformance/durability.ts'
import { testReadingAndWriting } from './conformance/reading-and-writing.ts'
import { testRefusals } from './conformance/refusals.ts'
import { testZeroing } from './conformance/zeroing.ts'

/** A device of at least SIZE_MIN bytes, opened for one suite; its contents do not matter. */
export interface Opened {
  readonly device: BlockDevice
  /** Memory that the device's engine can use; not needed for devices without an engine. */
  readonly source?: MemorySource
  /** Undoes what `open` did beside the device, which is closed already. */
  readonly release?: () => Promise<void>
}

export type Open = () => Promise<Opened>

export const SIZE_MIN = 1024 * 1024

/** What the parts of the suite share. Filled before the first test runs. */
export interface Subject {
  device: BlockDevice
  facade: Facade
  source: MemorySource
}

export const HEAP_SOURCE: MemorySource = {
  acquire: length => ({ bytes: new Uint8Array(length), address: 0 }),
  release: () => {},
}

export async function openSubject(open: Open): Promise<Subject & AsyncDisposable> {
  const { device: below, source = HEAP_SOURCE, release } = await open()
  const device = chain(checked, below)
  const facade = new Facade(device, source)
  const dispose = async (): Promise<void> => {
    await facade.close()
    await release?.()
  }
  return { device, facade, source, [Symbol.asyncDispose]: dispose }
}

export function describeBlockDevice(name: string, open: Open): void {
  describe(name, () => {
    describe('open', () => {
      const subject = {} as Subject & AsyncDisposable
      beforeAll(async () => {
        Object.assign(subject, await openSubject(open))
      })
      afterAll(() => subject[Symbol.asyncDispose]?.())

      testReadingAndWriting(subject)
      testDurability(subject)
      testZeroing(subject)
      testBlockStatus(subject)
      testRefusals(subject)
    })
    // Opens again, so it must come when the device above is closed: some cannot be open twice.
    describe('closing', () => testClosing(open))
  })
}
