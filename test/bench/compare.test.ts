/** Two runs side by side: what is news, and what is noise. */
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { compareRuns } from '../../src/bench/compare.ts'
import { comparisonText } from '../../src/bench/report/text.ts'
import { readRun } from '../../src/bench/results.ts'
import { temporary } from '../support/temporary.ts'
import { row, runOf, scenarioOf } from './runs.ts'

function iops(blkferry: readonly number[], nbdkit: readonly number[]) {
  return runOf([scenarioOf('serve-4k', [row('read', 'iops', { blkferry, nbdkit })])])
}

describe('comparison', () => {
  test('a faster machine is no change, for the peer is faster too', () => {
    const [change] = compareRuns(iops([2, 2, 2], [1, 1, 1]), iops([20, 20, 20], [10, 10, 10]))
    expect(change).toMatchObject({ what: 'blkferry / nbdkit', factor: 1, verdict: 'same' })
  })

  test('a lower rate beside the same peer is worse, a higher one better', () => {
    const before = iops([2, 2, 2], [1, 1, 1])
    expect(compareRuns(before, iops([1, 1, 1], [1, 1, 1]))[0]?.verdict).toBe('worse')
    expect(compareRuns(before, iops([3, 3, 3], [1, 1, 1]))[0]?.verdict).toBe('better')
  })

  test('a lower latency is better', () => {
    const run = (blkferry: number) =>
      runOf([scenarioOf('s', [row('c', 'p99', { blkferry: [blkferry], nbdkit: [1] })])])
    expect(compareRuns(run(2), run(1))[0]).toMatchObject({ factor: 2, verdict: 'better' })
    expect(compareRuns(run(1), run(2))[0]).toMatchObject({ factor: 0.5, verdict: 'worse' })
  })

  test('a difference within the tolerance is none', () => {
    const change = compareRuns(iops([100], [100]), iops([90], [100]))
    expect(change[0]?.verdict).toBe('same')
  })

  test('a difference within the spread of both runs is none', () => {
    const change = compareRuns(iops([1, 2, 3], [1, 1, 1]), iops([1, 1, 1], [1, 1, 1]))
    expect(change[0]).toMatchObject({ factor: 0.5, verdict: 'same' })
  })

  test('without a peer the values themselves are compared', () => {
    const run = (ms: number) =>
      runOf([scenarioOf('scale-bitmap', [row('find', 'nanoseconds', { blkferry: [ms] })])])
    expect(compareRuns(run(10), run(30))[0]).toMatchObject({ what: 'blkferry', verdict: 'worse' })
  })

  test('what only one of both runs has is left out', () => {
    const other = runOf([scenarioOf('other', [row('read', 'iops', { blkferry: [1] })])])
    expect(compareRuns(other, iops([1], [1]))).toEqual([])
  })

  test('the text names what is worse and counts what is not', () => {
    const text = comparisonText(compareRuns(iops([2], [1]), iops([1], [1])))
    expect(text).toMatch(/serve-4k: read, requests\/s .* worse 0\.50×/)
    expect(text).toContain('0 of 1 figures are as before')
  })
})

describe('stored run', () => {
  test('comes back as it was, and anything else is refused in one sentence', async () => {
    await using folder = await temporary()
    const write = async (name: string, text: string) => {
      const path = folder.file(name)
      await writeFile(path, text)
      return path
    }
    const run = iops([1], [2])
    expect(await readRun(await write('run.json', JSON.stringify(run)))).toEqual(run)
    await expect(readRun(folder.file('none.json'))).rejects.toThrow('cannot read')
    await expect(readRun(await write('text', 'hello'))).rejects.toThrow('is not JSON')
    await expect(readRun(await write('other.json', '{"a":1}'))).rejects.toThrow('is no run')
    const older = JSON.stringify({ ...run, version: 0 })
    await expect(readRun(await write('old.json', older))).rejects.toThrow('measure again')
  })
})
