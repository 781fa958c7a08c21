/**
 * A live migration under each load of fixtures/fio, on both engines: fio verifies what it wrote,
 * the disks are identical at the hand-over, and fio finds its writes on the target too.
 */
import { expect, test } from 'vitest'
import {
  ENGINES,
  fastFolder,
  firstDifference,
  MirrorControl,
  makeDisk,
  makeEmpty,
  startServe,
} from '../support/blkferry.ts'
import { FIXTURES, runFixture } from '../support/fio.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

/** Not a whole number of chunks. */
const DISK_SIZE = 48 * 1024 * 1024 + 512

/**
 * What a fixture writes, and how fast: long enough that the mirror starts and is ready meanwhile.
 */
const LOADS: Readonly<Record<string, { size: string; rate: number }>> = {
  'sequential-256k': { size: '16M', rate: 20 },
  bssplit: { size: '8M', rate: 1000 },
  database: { size: '8M', rate: 350 },
  trim: { size: '8M', rate: 200 },
}
/** To check only, fio does the trims of `trim` again, and mixes `mixed` by the rate it has then. */
const UNREPEATABLE: readonly string[] = ['trim', 'mixed-70-30']
const USUAL = { size: '8M', rate: 700 }

describeWith(['fio'], 'a migration', () => {
  for (const engine of ENGINES) {
    for (const fixture of FIXTURES) {
      test(`under ${fixture} on ${engine} loses nothing`, async () => {
        await using folder = await temporary(await fastFolder())
        const path = await makeDisk(folder.file('disk'), DISK_SIZE)
        const copy = await makeEmpty(folder.file('copy'), DISK_SIZE)
        const words = ['--engine', engine]
        await using target = await startServe(folder, 'target', { path: copy, words })
        await using source = await startServe(folder, 'source', { path, words })
        using mirror = await MirrorControl.connect(folder, 'source')

        const load = LOADS[fixture] ?? USUAL
        const running = runFixture(fixture, source.uri, load)
        const { state } = await mirror.start(target.uri)
        expect(state).not.toBe('concluded')
        const { code, output } = await running
        expect(code, output).toBe(0)
        await mirror.ready()
        const { outcome } = await mirror.complete({ verify: true })
        expect(outcome).toBe('completed')

        expect(await firstDifference(path, copy)).toBeUndefined()
        if (UNREPEATABLE.includes(fixture)) return
        const check = await runFixture(fixture, target.uri, { ...load, rate: 0, verifyOnly: true })
        expect(check.code, check.output).toBe(0)
      })
    }
  }
})
