/** What can be told of a process from outside: that it works, sleeps or was stopped. */
import { type ChildProcess, spawn } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { workOf } from '../../src/chain/process-work.ts'
import { until } from '../nbd/until.ts'

const started: ChildProcess[] = []

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

function start(...argv: [string, ...string[]]): ChildProcess {
  const [program, ...words] = argv
  const child = spawn(program, words)
  started.push(child)
  return child
}

const LOOP = ['sh', '-c', 'while :; do :; done'] as const

test('a process that computes is busy, and its time grows', async () => {
  const { pid } = start(...LOOP)
  await until(() => workOf(pid).isBusy && workOf(pid).computedMs >= 50)
})

test('a process that was stopped is not busy, whatever it was doing', async () => {
  const child = start(...LOOP)
  await until(() => workOf(child.pid).isBusy)
  child.kill('SIGSTOP')
  await until(() => workOf(child.pid).isStopped && !workOf(child.pid).isBusy)
})

test('a process that sleeps is not busy, and one that is gone neither', async () => {
  const { pid } = start('sleep', '100')
  await until(() => !workOf(pid).isBusy && !workOf(pid).isStopped)
  expect(workOf(2 ** 30)).toEqual({ isBusy: false, isStopped: false, computedMs: 0 })
})
