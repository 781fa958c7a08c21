/**
 * Requests that no client may send, from libnbd with its own checks off: each gets its error, and
 * nothing is written.
 */
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { mustRun } from '../../src/demo/command.ts'
import { ENGINES, fastFolder, firstDifference, makeDisk, startServe } from '../support/blkferry.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const SCRIPT = fileURLToPath(new URL('illegal-requests.py', import.meta.url))
const SIZE = 1024 * 1024

const READS = {
  'read past the end': 'EINVAL',
  'read across the end': 'EINVAL',
  'read at the last offset there is': 'EINVAL',
  'status past the end': 'EINVAL',
  'cache past the end': 'EINVAL',
  'read of no whole block': 'EINVAL',
  'read between blocks': 'EINVAL',
  'read with an unknown flag': 'EINVAL',
  'read larger than allowed': 'EINVAL',
  'read of nothing': 'EINVAL',
  'status of nothing': 'EINVAL',
  'flush with a flag': 'EINVAL',
}
const LEGAL = { write: 'done', 'write zeroes': 'done', trim: 'done' }
const WRITES = {
  'write past the end': 'ENOSPC',
  'write across the end': 'ENOSPC',
  'write zeroes past the end': 'ENOSPC',
  'trim past the end': 'ENOSPC',
  'write of no whole block': 'EINVAL',
  'write between blocks': 'EINVAL',
  'write with a flag of reads': 'EINVAL',
  'trim with a flag of zeroes': 'EINVAL',
  'write larger than allowed': 'EINVAL',
  'write zeroes of 4 GiB': 'ENOSPC',
  'trim of 4 GiB': 'ENOSPC',
}

async function outcomes(uri: string): Promise<Record<string, string>> {
  const said = await mustRun(['/usr/bin/python3', SCRIPT, uri])
  return Object.fromEntries(
    said
      .trim()
      .split('\n')
      .map(line => line.split(': ', 2) as [string, string]),
  )
}

describeWith(['nbdsh'], 'illegal requests from libnbd', () => {
  for (const engine of ENGINES) {
    test(`${engine} answers each with its error`, async () => {
      await using folder = await temporary(await fastFolder())
      const path = await makeDisk(folder.file('disk'), SIZE)
      await using serve = await startServe(folder, 'serve', { path, words: ['--engine', engine] })
      expect(await outcomes(serve.uri)).toEqual({ ...READS, ...LEGAL, ...WRITES })
    })
  }

  test('a read-only export answers everything well-formed that writes with EPERM', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const before = await makeDisk(folder.file('before'), SIZE)
    await using serve = await startServe(folder, 'serve', { path, words: ['--read-only'] })
    const refused = Object.keys({ ...LEGAL, ...WRITES }).map(name => [
      name,
      /flag|larger/.test(name) ? 'EINVAL' : 'EPERM',
    ])
    expect(await outcomes(serve.uri)).toEqual({ ...READS, ...Object.fromEntries(refused) })
    expect(await firstDifference(path, before)).toBeUndefined()
  })
})
