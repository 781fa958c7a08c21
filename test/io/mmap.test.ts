import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { PAGE_SIZE } from '../../src/io/memory.ts'
import { mapAnonymous, mapShared, releasePages, unmap } from '../../src/io/mmap.ts'
import { temporary } from '../support/temporary.ts'

/**
 * Maps the file, writes into it, says so, and waits to be killed. Built code: Node runs it without
 * the test runner.
 */
const CHILD = `
  import fs from 'node:fs'
  import { mapShared } from '${new URL('../../dist/io/mmap.js', import.meta.url)}'
  const fd = fs.openSync(process.argv[1], 'r+')
  const { bytes } = mapShared(fd, 65536)
  fs.closeSync(fd)
  bytes[0] = 0xaa
  bytes[65535] = 0xbb
  fs.writeSync(1, 'written')
  setInterval(() => {}, 1000)`

/** Ten times as much as V8 lets be added before it collects, though less at a time. */
const MANY = `
  import { setTimeout as sleep } from 'node:timers/promises'
  import { mapAnonymous } from '${new URL('../../dist/io/mmap.js', import.meta.url)}'
  const mapped = Array.from({ length: 20 }, () => mapAnonymous(32 * 1024 * 1024))
  await sleep(100)
  console.log('mapped', mapped.length)`

describe('mappings', () => {
  it('are zeroed, page-aligned and writable', () => {
    const memory = mapAnonymous(3 * PAGE_SIZE)
    expect(memory.address % PAGE_SIZE).toBe(0)
    expect(memory.bytes.length).toBe(3 * PAGE_SIZE)
    expect(memory.bytes.every(byte => byte === 0)).toBe(true)
    memory.bytes.fill(7)
    expect(memory.bytes[3 * PAGE_SIZE - 1]).toBe(7)
    unmap(memory)
  })

  it('do not make V8 collect garbage, which it cannot free them by', () => {
    const run = spawnSync(process.execPath, ['--trace-gc', '--input-type=module', '-e', MANY], {
      encoding: 'utf8',
    })
    expect(run.stderr).toBe('')
    expect(run.stdout).toContain('mapped')
    expect(run.stdout).not.toContain('Mark-Compact')
  })

  it('refuse a length that is not one, an fd that is not open, and a second unmap', () => {
    expect(() => mapAnonymous(0)).toThrow('positive')
    expect(() => mapShared(9999, PAGE_SIZE)).toThrow('mmap: EBADF')
    const memory = mapAnonymous(PAGE_SIZE)
    unmap(memory)
    expect(() => unmap(memory)).toThrow('unmapped already')
  })

  it('read as zeroes once their pages are given back', () => {
    const memory = mapAnonymous(4 * PAGE_SIZE)
    memory.bytes.fill(1)
    releasePages(memory.address + PAGE_SIZE, 2 * PAGE_SIZE)
    expect(memory.bytes[PAGE_SIZE - 1]).toBe(1)
    expect(memory.bytes[PAGE_SIZE]).toBe(0)
    expect(memory.bytes[3 * PAGE_SIZE - 1]).toBe(0)
    expect(memory.bytes[3 * PAGE_SIZE]).toBe(1)
    expect(() => releasePages(memory.address + 1, PAGE_SIZE)).toThrow('whole pages')
    unmap(memory)
  })

  it('of a shared file are the file, for each other and for node:fs', async () => {
    await using folder = await temporary('/dev/shm')
    const fd = fs.openSync(folder.file('shared'), 'w+')
    fs.ftruncateSync(fd, PAGE_SIZE)
    const [a, b] = [mapShared(fd, PAGE_SIZE), mapShared(fd, PAGE_SIZE)]
    a.bytes[5] = 0x55
    expect(b.bytes[5]).toBe(0x55)
    expect(fs.readFileSync(folder.file('shared'))[5]).toBe(0x55)
    fs.closeSync(fd)
    unmap(a)
    unmap(b)
  })

  it('of a shared file outlive kill -9', async () => {
    await using folder = await temporary('/dev/shm')
    const file = folder.file('survivor')
    fs.writeFileSync(file, '')
    fs.truncateSync(file, 65536)
    const child = spawn(process.execPath, ['--input-type=module', '--eval', CHILD, file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    const [, signal] = await once(child, 'exit')
    expect(signal).toBe('SIGKILL')
    const found = fs.readFileSync(file)
    expect([found[0], found[1], found[65535]]).toEqual([0xaa, 0, 0xbb])
  })
})
