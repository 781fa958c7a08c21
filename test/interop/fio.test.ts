/** Every fio fixture writes through our server and verifies what it reads back, on both engines. */
import { expect, test } from 'vitest'
import { ENGINES, fastFolder, makeDisk, startServe } from '../support/blkferry.ts'
import { FIXTURES, runFixture } from '../support/fio.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const DISK_SIZE = 32 * 1024 * 1024

describeWith(['fio'], 'fio', () => {
  for (const engine of ENGINES) {
    for (const fixture of FIXTURES) {
      test(`${fixture} verifies on ${engine}`, async () => {
        await using folder = await temporary(await fastFolder())
        const path = await makeDisk(folder.file('disk'), DISK_SIZE)
        await using serve = await startServe(folder, 'serve', { path, words: ['--engine', engine] })
        const { code, output } = await runFixture(fixture, serve.uri)
        expect(code, output).toBe(0)
      })
    }
  }
})
