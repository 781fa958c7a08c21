/** Waiting for a file without looking for it all the time. */
import { writeFileSync } from 'node:fs'
import { test } from 'vitest'
import { nextChange } from '../../src/chain/folder-change.ts'
import { temporary } from '../support/temporary.ts'

const NEVER_MS = 1_000_000

test('a file that appears is a change', async () => {
  await using folder = await temporary()
  const change = nextChange(folder.path, NEVER_MS)
  writeFileSync(folder.file('socket'), '')
  await change.settled
})

test('a change that nobody waits for any more settles at once', async () => {
  await using folder = await temporary()
  const change = nextChange(folder.path, NEVER_MS)
  change.forget()
  await change.settled
})

test('time that is up is enough', async () => {
  await using folder = await temporary()
  await nextChange(folder.path, 1).settled
})

test('a folder that cannot be watched is looked at again soon', async () => {
  await using folder = await temporary()
  await nextChange(folder.file('gone'), NEVER_MS).settled
})
