/** Processes that serve a guest's disk: how they are started, found again, and ended. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { endForeign, processesWith } from '../../src/chain/foreign-process.ts'
import { spawnIoProcess } from '../../src/host/io-process.ts'

/** PF_MEMALLOC_NOIO of a process's flags, which is what PR_SET_IO_FLUSHER sets. */
const NOIO = 0x80000
/** Stays until it is killed, and has `word` in its command line. */
const waiting = (word: string): [string, ...string[]] => [
  process.execPath,
  '-e',
  'setInterval(() => {}, 1000)',
  word,
]
const flagsOf = (pid: number | 'self'): number =>
  Number(
    readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[6],
  )

test('a process of a former daemon is found by a word of its command line, and ended', async () => {
  const word = `/run/blkferry-test-${process.pid}/s1-xvda.control`
  const [program, ...words] = waiting(word)
  const child = spawn(program, words, { stdio: 'ignore' })
  const other = spawn(program, [...words.slice(0, -1), `${word}-not`], { stdio: 'ignore' })
  try {
    const ended = once(child, 'exit')
    while (processesWith(word).length === 0) await new Promise(resolve => setTimeout(resolve, 5))
    expect(processesWith(word)).toEqual([child.pid])
    await endForeign(word)
    expect(processesWith(word)).toEqual([])
    expect((await ended)[1]).toBe('SIGKILL')
    expect(other.exitCode).toBe(null)
    expect(other.signalCode).toBe(null)
  } finally {
    child.kill('SIGKILL')
    other.kill('SIGKILL')
  }
})

/** Needed for both; bit 24 of the capabilities. */
const hasResourceRight = (): boolean => {
  const status = readFileSync('/proc/self/status', 'utf8')
  const effective = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(status)?.[1] ?? '0'}`)
  return ((effective >> 24n) & 1n) === 1n
}

test.skipIf(!hasResourceRight())(
  'a process that serves is safe from memory pressure, and we ourselves stay as we were',
  async () => {
    const { child, isProtected } = spawnIoProcess(waiting('x'), { stdio: 'ignore' })
    try {
      expect(isProtected).toBe(true)
      expect(flagsOf(child.pid!) & NOIO).toBe(NOIO)
      expect(flagsOf('self') & NOIO).toBe(0)
      expect(readFileSync(`/proc/${child.pid}/oom_score_adj`, 'utf8').trim()).toBe('-1000')
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  },
)
