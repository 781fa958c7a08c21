/** The export of a disk that comes here, as a process. */
import { writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { DiskExport } from '../../src/daemon/disk-export.ts'
import { ExportPorts } from '../../src/daemon/export-ports.ts'
import { isAlive } from '../../src/daemon/processes.ts'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

function exportOf(folder: Temporary, check: () => void = () => {}): DiskExport {
  return new DiskExport({
    command: [process.execPath, BLKFERRY],
    path: folder.file('disk'),
    check,
    name: 'disk',
    keyFile: undefined,
    ports: new ExportPorts(folder.file('ports')),
    logFile: folder.file('log'),
    log: pino({ level: 'silent' }),
    started: () => {},
  })
}

test('an export that cannot be says why, and leaves no process', async () => {
  await using folder = await temporary()
  const one = exportOf(folder)
  await expect(one.start()).rejects.toThrow(/disk cannot be exported: .*no such file or device/)
  expect(one.process && isAlive(one.process)).toBe(false)
  await one.end()
})

test('a disk that is another one by now is not exported again, nor handed over', async () => {
  await using folder = await temporary()
  writeFileSync(folder.file('disk'), Buffer.alloc(1024 * 1024))
  let isSame = true
  const one = exportOf(folder, () => {
    if (!isSame) throw new Error('another disk')
  })
  await one.start()
  isSame = false
  await expect(one.close()).rejects.toThrow('another disk')
  await expect(exportOf(folder, () => one.port < 0 || fail()).start()).rejects.toThrow('never')
})

function fail(): never {
  throw new Error('never started')
}
