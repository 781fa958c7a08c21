/**
 * Clients of other projects against our server: what they are told, what they copy, what they
 * compare.
 */
import { beforeAll, expect, test } from 'vitest'
import { mustRun, runTool } from '../../src/demo/command.ts'
import {
  ENGINES,
  fastFolder,
  firstDifference,
  makeDisk,
  makeEmpty,
  socketUri,
  startServe,
} from '../support/blkferry.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const SIZE = 8 * 1024 * 1024
/** The last block is not whole. */
const ODD_SIZE = SIZE + 1536

let parent = ''
beforeAll(async () => {
  parent = await fastFolder()
})

/** Serves a patterned disk; `use` gets its URI and its file. */
async function withDisk(
  words: readonly string[],
  use: (uri: string, path: string, file: (name: string) => string) => Promise<void>,
  size = SIZE,
): Promise<void> {
  await using folder = await temporary(parent)
  const path = await makeDisk(folder.file('disk'), size)
  await using serve = await startServe(folder, 'serve', { path, words })
  await use(serve.uri, path, folder.file)
}

describeWith(['nbdinfo'], 'nbdinfo', () => {
  test('sees an export with all that is offered', () =>
    withDisk(['--export', 'guest/0', '--description', 'a disk'], async uri => {
      const [told] = JSON.parse(await mustRun(['nbdinfo', '--json', uri])).exports
      expect(told).toMatchObject({
        'export-name': 'guest/0',
        description: 'a disk',
        'export-size': SIZE,
        is_read_only: false,
        can_multi_conn: true,
        can_flush: true,
        can_fua: true,
        can_trim: true,
        can_zero: true,
        can_fast_zero: true,
        can_cache: true,
        can_df: true,
        contexts: ['base:allocation'],
        block_size_maximum: 32 * 1024 * 1024,
      })
    }))

  test('lists the export by its name', () =>
    withDisk(['--export', 'guest'], async (_, __, file) => {
      const uri = socketUri(file('serve.nbd'))
      const listed = JSON.parse(await mustRun(['nbdinfo', '--list', '--json', uri]))
      expect(listed.exports.map((each: Record<string, unknown>) => each['export-name'])).toEqual([
        'guest',
      ])
    }))

  test('is refused an export that is not there', () =>
    withDisk(['--export', 'guest'], async (_, __, file) => {
      const uri = `nbd+unix:///other?socket=${file('serve.nbd')}`
      const { code, stderr } = await runTool(['nbdinfo', uri])
      expect(code).not.toBe(0)
      expect(stderr).toMatch(/export|unknown/i)
    }))

  test('maps data and holes as the file has them', () =>
    withDisk([], async uri => {
      const map = JSON.parse(await mustRun(['nbdinfo', '--map', '--json', uri]))
      const piece = 256 * 1024
      expect(map).toHaveLength(SIZE / piece)
      for (const [index, { offset, length, type }] of map.entries()) {
        expect({ offset, length, type }).toEqual({
          offset: index * piece,
          length: piece,
          type: index % 2 === 0 ? 0 : 3,
        })
      }
    }))

  for (const [words, can, cannot] of [
    [[], ['write', 'flush', 'fua', 'trim', 'zero', 'fast-zero', 'cache', 'multi-conn'], []],
    [['--read-only'], ['cache', 'multi-conn'], ['write', 'trim', 'zero']],
  ] as const) {
    test(`--can agrees${words.map(word => ` with ${word}`).join('')}`, () =>
      withDisk(words, async uri => {
        for (const name of can) {
          const { code } = await runTool(['nbdinfo', '--can', name, uri])
          expect(`${name} ${code}`).toBe(`${name} 0`)
        }
        for (const name of cannot) {
          const { code } = await runTool(['nbdinfo', '--can', name, uri])
          expect(`${name} ${code}`).toBe(`${name} 2`)
        }
      }))
  }
})

describeWith(['nbdcopy'], 'nbdcopy', () => {
  for (const engine of ENGINES) {
    for (const options of [
      [],
      ['--synchronous'],
      ['--connections=4', '--requests=16', '--flush'],
      ['--no-extents', '--request-size=1048576'],
    ]) {
      const name = options.join(' ') || 'no options'
      test(`copies from and to ${engine} with ${name}`, () =>
        withDisk(
          ['--engine', engine],
          async (uri, path, file) => {
            const copy = await makeEmpty(file('copy'), ODD_SIZE)
            await mustRun(['nbdcopy', ...options, uri, copy])
            expect(await firstDifference(path, copy)).toBeUndefined()
            const other = await makeDisk(file('other'), ODD_SIZE, 2)
            await mustRun(['nbdcopy', ...options, other, uri])
            expect(await firstDifference(other, path)).toBeUndefined()
          },
          ODD_SIZE,
        ))
    }
  }
})

describeWith(['qemu-io', 'qemu-img'], 'qemu', () => {
  test('qemu-io reads back what it wrote, zeroed and discarded', () =>
    withDisk([], async (uri, path) => {
      const commands = [
        'write -P 0x5a 1M 1M',
        'read -P 0x5a 1M 1M',
        'write -f -P 0x5b 1000k 64k',
        'read -P 0x5b 1000k 64k',
        'write -z 1100k 100k',
        'read -P 0 1100k 100k',
        'write -z -u 1200k 100k',
        'read -P 0 1200k 100k',
        'discard 1300k 100k',
        'flush',
        'aio_write -P 0x77 2M 512k',
        'aio_write -P 0x78 3M 512k',
        'aio_flush',
        'read -P 0x77 2M 512k',
        'read -P 0x78 3M 512k',
        'read -P 0x5b 1000k 64k',
      ]
      const argv = commands.flatMap(command => ['-c', command])
      const said = await mustRun(['qemu-io', '-f', 'raw', ...argv, uri])
      expect(said).not.toMatch(/verification failed/i)
      expect(await mustRun(['qemu-img', 'compare', '-f', 'raw', '-F', 'raw', path, uri])).toMatch(
        /identical/i,
      )
    }))

  test('qemu-img converts from and to it, compares and maps', () =>
    withDisk([], async (uri, path, file) => {
      const copy = file('copy.qcow2')
      await mustRun(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri, copy])
      await mustRun(['qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', path, copy])
      const other = await makeDisk(file('other'), SIZE, 3)
      await mustRun(['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', other, uri])
      expect(await firstDifference(other, path)).toBeUndefined()
      const map = JSON.parse(await mustRun(['qemu-img', 'map', '-f', 'raw', '--output=json', uri]))
      const data = map.filter((extent: { data: boolean }) => extent.data)
      expect(data.reduce((sum: number, { length }: { length: number }) => sum + length, 0)).toBe(
        SIZE / 2,
      )
    }))
})
