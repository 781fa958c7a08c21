/** The smallest scenarios for real: the built benchmark from its start to its files. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { readRun } from '../../src/bench/results.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const MAIN = fileURLToPath(new URL('../../dist/bench/main.js', import.meta.url))
const TIMEOUT_MS = 120_000
const run = promisify(execFile)

function bench(...words: readonly string[]) {
  return run(process.execPath, [MAIN, ...words])
}

describeWith(['fio', 'nbdkit', 'qemu-nbd'], 'benchmark', () => {
  test(
    'measures a server beside its peers, stores the run, and leaves nothing behind',
    async () => {
      await using folder = await temporary()
      const [json, html] = [folder.file('run.json'), folder.file('run.html')]
      const places = ['--dir', folder.path, '--disk-dir', folder.path]
      const words = ['serve-flush', '--quick', '--json', json, '--html', html, ...places]
      const { stdout } = await bench(...words)
      expect(stdout).toContain('÷ nbdkit')
      expect(stdout).toContain('Does not show')
      const [scenario] = (await readRun(json)).scenarios
      expect(scenario?.fault).toBeNull()
      for (const subject of ['blkferry', 'nbdkit', 'qemu-nbd', 'bare file']) {
        expect(scenario?.rows[0]?.samples[subject]).toHaveLength(3)
      }
      expect(readdirSync(folder.path).sort()).toEqual(['run.html', 'run.json'])
      // The same run again is no worse than itself.
      const again = await bench('--from', json, '--compare', json)
      expect(again.stdout).toContain('are as before')
    },
    TIMEOUT_MS,
  )
})

describe('benchmark command', () => {
  test('a wrong word ends with exit code 2 and one sentence', async () => {
    await expect(bench('serve-4q')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('did you mean serve-4k?'),
    })
  })

  test('lists its scenarios', async () => {
    expect((await bench('--list')).stdout).toContain('mirror-switchover')
  })
})
