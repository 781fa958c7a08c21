/**
 * The journal on real file systems: locks, a disk that is really full, what a crash leaves behind.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FREE_SLOTS } from '../../src/migration/journal.ts'
import { SLOT_BYTES } from '../../src/migration/journal-codec.ts'
import { JournalError } from '../../src/migration/journal-error.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

function failure(work: () => unknown): JournalError {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(JournalError)
    return error as JournalError
  }
  throw new Error('did not fail')
}

test('what was applied is there after opening it again, with modes for root alone', async () => {
  await using folder = await temporary()
  const path = folder.file('state')
  const journal = openJournal(path)
  journal.apply('claim', [{ disk: 'xvda' }])
  journal.close()
  const again = openJournal(path)
  expect(again.holding('xvda')).toEqual({ role: 'owner', epoch: 1, session: undefined })
  again.close()
  expect(statSync(path).mode & 0o777).toBe(0o700)
  expect(statSync(`${path}/journal`).mode & 0o777).toBe(0o600)
})

test('a second opener is refused while the first lives', async () => {
  await using folder = await temporary()
  const journal = openJournal(folder.path)
  const refused = failure(() => openJournal(folder.path))
  expect(refused.code).toBe('locked')
  expect(refused.message).toContain('stop that one first')
  journal.close()
  openJournal(folder.path).close()
})

test('a refused opening lets go of the lock', async () => {
  await using folder = await temporary()
  writeFileSync(folder.file('journal'), 'not a journal')
  expect(failure(() => openJournal(folder.path)).code).toBe('corrupt')
  expect(failure(() => openJournal(folder.path)).code).toBe('corrupt')
  expect(readFileSync(folder.file('journal'), 'utf8')).toBe('not a journal')
})

test('a replacement that a crash left unfinished is forgotten', async () => {
  await using folder = await temporary()
  const journal = openJournal(folder.path)
  journal.apply('claim', [{ disk: 'xvda' }])
  journal.close()
  writeFileSync(folder.file('journal.new'), Buffer.alloc(SLOT_BYTES))
  const again = openJournal(folder.path)
  expect(again.holding('xvda').role).toBe('owner')
  again.close()
  expect(readdirSync(folder.path).sort()).toEqual(['journal', 'journal.lock'])
})

test('a replacement is a new file with the same state', async () => {
  await using folder = await temporary()
  const journal = openJournal(folder.path)
  const { ino } = statSync(folder.file('journal'))
  journal.apply('claim', [{ disk: 'xvda' }])
  for (let n = 0; n < FREE_SLOTS; n++) {
    journal.apply(n % 2 === 0 ? 'seal' : 'unseal', [{ disk: 'xvda', session: 's' }])
  }
  expect(statSync(folder.file('journal')).ino).not.toBe(ino)
  journal.close()
  const again = openJournal(folder.path)
  expect(again.holding('xvda')).toEqual({ role: 'owner', epoch: 1, session: undefined })
  again.close()
})

describeWith(['root', 'mount'], 'a full disk', () => {
  test('a reserved step is written, one that needs a new file is refused', async () => {
    await using folder = await temporary()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', folder.path])
    try {
      const journal = openJournal(folder.path)
      journal.apply('claim', [{ disk: 'xvda' }])
      journal.reserve('s', 2)
      try {
        writeFileSync(folder.file('filler'), Buffer.alloc(2 ** 20))
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC')
      }
      let refused: JournalError | undefined
      for (let n = 0; n < FREE_SLOTS + 1 && refused === undefined; n++) {
        try {
          journal.apply('claim', [{ disk: `disk ${n}` }])
        } catch (error) {
          refused = error as JournalError
        }
      }
      expect(refused).toMatchObject({ code: 'full' })
      expect(refused?.message).toContain('free some space')
      journal.apply('seal', [{ disk: 'xvda', session: 's' }])
      journal.apply('give-away', [{ disk: 'xvda', session: 's' }])
      journal.close()
      const again = openJournal(folder.path)
      expect(again.holding('xvda').role).toBe('given-away')
      again.close()
    } finally {
      execFileSync('umount', [folder.path])
    }
  })
})
