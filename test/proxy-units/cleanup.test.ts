/** Taking down what has been set up. */
import { expect, test } from 'vitest'
import { Cleanup } from '../../src/proxy/cleanup.ts'

test('steps run in the opposite order, one after the other', async () => {
  const cleanup = new Cleanup()
  const done: string[] = []
  for (const name of ['first', 'second']) {
    cleanup.defer(async () => {
      await new Promise(setImmediate)
      done.push(name)
    })
  }
  await cleanup.run()
  expect(done).toEqual(['second', 'first'])
  await cleanup.run()
  expect(done).toHaveLength(2)
})

test('a step that fails keeps no other from running, and is what the caller hears', async () => {
  const cleanup = new Cleanup()
  const done: string[] = []
  cleanup.defer(async () => {
    done.push('last')
  })
  cleanup.defer(() => Promise.reject(new Error('rejected')))
  cleanup.defer(() => {
    throw new Error('thrown')
  })
  await expect(cleanup.run()).rejects.toThrow('thrown')
  expect(done).toEqual(['last'])
})
