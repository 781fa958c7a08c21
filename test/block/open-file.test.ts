/** Opening disks: what is refused, with which words, and what is found out about the rest. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, truncate, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type FileDevice, openFile } from '../../src/block/file.ts'
import { OpenError, type OpenFileOptions } from '../../src/block/open-file.ts'
import { LibuvEngine } from '../../src/io/libuv.ts'
import { attachLoop } from '../support/loop-device.ts'
import { describeWith } from '../support/requires.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const engine = new LibuvEngine()
let folder: Temporary
let path: string

beforeAll(async () => {
  folder = await temporary('/var/tmp')
  path = await createFile('disk', MIB)
})
afterAll(async () => {
  await engine.close()
  await folder[Symbol.asyncDispose]()
})

async function createFile(name: string, size: number): Promise<string> {
  const file = folder.file(name)
  await writeFile(file, '')
  await truncate(file, size)
  return file
}

async function withDisk(
  file: string,
  options: OpenFileOptions,
  look: (device: FileDevice) => unknown,
): Promise<void> {
  const device = await openFile(file, engine, options)
  try {
    await look(device)
  } finally {
    await device.close()
  }
}

async function expectRefused(file: string, words: RegExp, options = {}): Promise<void> {
  const error = await openFile(file, engine, options).then(
    () => undefined,
    reason => reason,
  )
  expect(error).toBeInstanceOf(OpenError)
  expect(error.message).toMatch(words)
  expect(error.message).toContain(file)
}

describe('a file', () => {
  it('is refused when it does not exist', () =>
    expectRefused(folder.file('nowhere'), /no such file.*create it first/))

  it('is refused when a part of its path is a file', () =>
    expectRefused(`${path}/disk`, /no such file/))

  it('is refused when it is a directory', async () => {
    await mkdir(folder.file('folder'))
    await expectRefused(folder.file('folder'), /is a directory/)
  })

  it('is refused when it is a device without blocks', () =>
    expectRefused('/dev/null', /neither a file nor a block device/))

  it('is refused when it is empty', async () => {
    await expectRefused(await createFile('empty', 0), /is empty/)
  })

  it('is refused while we have it open for writing, and free after close', async () => {
    await withDisk(path, {}, () => expectRefused(path, /in use by another process/))
    await withDisk(path, {}, () => {})
  })

  it('is refused while another process has locked it', async () => {
    const child = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo locked; read line'])
    await once(child.stdout, 'data')
    await expectRefused(path, /in use by another process/)
    child.stdin.end()
    await once(child, 'exit')
  })

  it('is shared by readers, but not with a writer', () =>
    withDisk(path, { readOnly: true }, async () => {
      await withDisk(path, { readOnly: true }, ({ info }) => expect(info.isReadOnly).toBe(true))
      await expectRefused(path, /in use by another process/)
    }))

  it('waits for a lock that is held for a moment only', async () => {
    const child = spawn('flock', ['--shared', path, 'sh', '-c', 'echo locked; sleep 0.3'])
    await once(child.stdout, 'data')
    await withDisk(path, {}, ({ info }) => expect(info.size).toBe(MIB))
  })

  it.each([
    [MIB, 512, true],
    [MIB + 512, 512, true],
    [MIB + 4096, 512, true],
    [MIB + 511, 1, false],
    [100, 1, false],
  ])('of %d bytes has blocks of %d, direct: %s', async (size, blockSize, isDirect) => {
    await withDisk(await createFile(`sized-${size}`, size), {}, device => {
      expect(device.info).toMatchObject({ size, blockSize, isReadOnly: false, canFua: true })
      expect(device.isDirect).toBe(isDirect)
    })
  })

  it('is buffered in blocks of 1 when direct I/O is off', () =>
    withDisk(path, { direct: 'off' }, device => {
      expect(device.isDirect).toBe(false)
      expect(device.info.blockSize).toBe(1)
    }))

  it('is refused when direct I/O is asked for and its size does not allow it', async () => {
    const odd = await createFile('odd', MIB + 1)
    await expectRefused(odd, /direct I\/O is not possible/, { direct: 'on' })
  })
})

describeWith(['root', 'setpriv'], 'a file of somebody else', () => {
  it('is refused without permission', async () => {
    const closed = await createFile('closed', MIB)
    await chmod(closed, 0o600)
    await chmod(folder.path, 0o755)
    const uid = process.geteuid!()
    process.seteuid!(65534)
    try {
      await expectRefused(closed, /permission denied/)
    } finally {
      process.seteuid!(uid)
    }
  })
})

describeWith(['root', 'losetup'], 'a block device', () => {
  it.each([512, 4096])('with sectors of %d bytes is direct in blocks of that', async sectorSize => {
    await using loop = attachLoop(path, sectorSize)
    await withDisk(loop.path, {}, device => {
      expect(device.isDirect).toBe(true)
      expect(device.info).toMatchObject({ size: MIB, blockSize: sectorSize })
      expect(device.info).toMatchObject({ canTrim: true, canFastZero: true, canBlockStatus: false })
    })
  })

  it('is not served without direct I/O', async () => {
    await using loop = attachLoop(path, 512)
    await expectRefused(loop.path, /direct I\/O/, { direct: 'off' })
  })

  it('is refused while it is mounted, unless it is held', async () => {
    const image = await createFile('image', 4 * MIB)
    execFileSync('mkfs.ext4', ['-q', image])
    await using loop = attachLoop(image, 512)
    await mkdir(folder.file('mount'))
    execFileSync('mount', ['-o', 'ro', loop.path, folder.file('mount')])
    try {
      await expectRefused(loop.path, /is in use \(mounted, or held/)
      await withDisk(loop.path, { held: true, readOnly: true }, () => {})
    } finally {
      execFileSync('umount', [folder.file('mount')])
    }
  })

  it('is refused for writing when it is read-only', async () => {
    await using loop = attachLoop(path, 512, true)
    await expectRefused(loop.path, /read-only/)
    await withDisk(loop.path, { readOnly: true }, ({ info }) => expect(info.canTrim).toBe(false))
  })
})
