/**
 * The file leaf against the suite: on both engines, buffered and direct, on files and on loop
 * devices.
 */
import { truncate, writeFile } from 'node:fs/promises'
import { describe } from 'vitest'
import { openFile } from '../../src/block/file.ts'
import type { OpenFileOptions } from '../../src/block/open-file.ts'
import { ENGINE_NAMES, type EngineName } from '../../src/io/engine.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { attachLoop } from '../support/loop-device.ts'
import { MAPPED_MEMORY } from '../support/mapped-memory.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'
import { describeBlockDevice, type Open, type Opened } from './conformance.ts'

const SIZE = 2 * 1024 * 1024

interface Disk {
  readonly engine: EngineName
  readonly size: number
  readonly options?: OpenFileOptions
  /** On a tmpfs instead of a disk file system. */
  readonly onTmpfs?: boolean
  /** Sector size of a loop device over the file. */
  readonly sectorSize?: number
}

function opener(disk: Disk): Open {
  return async (): Promise<Opened> => {
    const folder = await temporary(disk.onTmpfs ? '/dev/shm' : '/var/tmp')
    const file = folder.file('disk')
    await writeFile(file, '')
    await truncate(file, disk.size)
    const loop = disk.sectorSize === undefined ? undefined : attachLoop(file, disk.sectorSize)
    const { engine } = openEngine(disk.engine)
    const release = async (): Promise<void> => {
      await engine.close()
      await loop?.[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    }
    try {
      const device = await openFile(loop?.path ?? file, engine, disk.options)
      return { device, source: MAPPED_MEMORY, release }
    } catch (error) {
      await release()
      throw error
    }
  }
}

describe.each(ENGINE_NAMES)('%s', engine => {
  describeBlockDevice('a file, direct', opener({ engine, size: SIZE, options: { direct: 'on' } }))
  describeBlockDevice(
    'a file, buffered',
    opener({ engine, size: SIZE, options: { direct: 'off' } }),
  )
  describeBlockDevice('a file of an odd size', opener({ engine, size: SIZE + 1234 }))
  describeBlockDevice('a file of 512-byte blocks', opener({ engine, size: SIZE + 512 }))
  describeBlockDevice(
    'a file, read-only',
    opener({ engine, size: SIZE, options: { readOnly: true } }),
  )
  describeBlockDevice('a file on tmpfs', opener({ engine, size: SIZE, onTmpfs: true }))

  describeWith(['root', 'losetup'], 'a loop device', () => {
    describeBlockDevice('512-byte sectors', opener({ engine, size: SIZE, sectorSize: 512 }))
    describeBlockDevice('4096-byte sectors', opener({ engine, size: SIZE, sectorSize: 4096 }))
  })
})
