/** What is written down of a disk path, for a daemon that knows nothing else. */
import { writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { chainNames } from '../../src/chain/names.ts'
import { readRecords, writeRecord } from '../../src/chain/record.ts'
import { linearTable } from '../../src/host/dm-table.ts'
import { temporary } from '../support/temporary.ts'

const log = pino({ level: 'silent' })

test('records are read back, and one that is damaged does not hide the others', async () => {
  await using folder = await temporary()
  const plain = linearTable('253:3', 2048, 384)
  const records = ['xvda', 'xvdb'].map(disk => ({ session: 's1', disk, device: 'vg-web1', plain }))
  for (const record of records) {
    writeRecord(chainNames('s1', record.disk, folder.path).record, record)
  }
  writeFileSync(chainNames('s1', 'xvdc', folder.path).record, '{"session":')
  expect(readRecords(folder.path, log)).toEqual(records)
})

test('a folder without records has no leftovers', async () => {
  await using folder = await temporary()
  expect(readRecords(folder.path, log)).toEqual([])
})
