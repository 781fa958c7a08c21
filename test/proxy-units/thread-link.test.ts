/** Calls between two threads: each ends in a result or an error, whatever goes wrong. */
import { once } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { type Calls, ThreadError, ThreadLink } from '../../src/proxy/thread-link.ts'

class Coded extends Error {
  override readonly name = 'Coded'
  readonly code = 'mirror-exists'
}

type Remote = Record<string, (argument: unknown) => unknown>

function makeLinks(offered: Calls) {
  const { port1, port2 } = new MessageChannel()
  const caller = new ThreadLink<Calls, Remote>(port1, {})
  const callee = new ThreadLink<Calls, Remote>(port2, offered)
  const close = async (): Promise<void> => {
    const closed = once(port1, 'close')
    port1.close()
    await closed
  }
  return { caller, callee, [Symbol.asyncDispose]: close }
}

test('a call resolves with the result, awaited', async () => {
  await using links = makeLinks({ twice: (value: number) => Promise.resolve(2 * value) })
  expect(await links.caller.call('twice', 21)).toBe(42)
})

test('an error keeps name, message and code', async () => {
  await using links = makeLinks({
    fail: () => {
      throw new Coded('a mirror is running')
    },
  })
  const error = await links.caller.call('fail', undefined).catch(reason => reason)
  expect(error).toBeInstanceOf(ThreadError)
  const { remoteName, message, code } = error as ThreadError
  expect({ remoteName, message, code }).toEqual({
    remoteName: 'Coded',
    message: 'a mirror is running',
    code: 'mirror-exists',
  })
})

test.each([
  ['nothing', undefined, 'undefined'],
  ['text', 'a text', 'a text'],
  ['an object without a prototype', Object.create(null) as unknown, 'not an Error'],
])('%s thrown is an error too', async (_, thrown, message) => {
  await using links = makeLinks({
    fail: () => {
      throw thrown
    },
  })
  await expect(links.caller.call('fail', undefined)).rejects.toThrow(message)
})

test('a result that cannot be cloned is an error of the call', async () => {
  await using links = makeLinks({ bad: () => () => 0 })
  await expect(links.caller.call('bad', undefined)).rejects.toThrow('could not be cloned')
})

test('an argument that cannot be cloned is an error of the call', async () => {
  await using links = makeLinks({ any: () => 0 })
  await expect(links.caller.call('any', () => 0)).rejects.toThrow('could not be cloned')
})

test(
  'the end rejects calls under way and those ' + 'to come, and late answers are nothing',
  async () => {
    let answer = (_: number): void => {}
    const answered = new Promise<number>(resolve => {
      answer = resolve
    })
    await using links = makeLinks({ slow: () => answered, quick: () => 1 })
    const slow = links.caller.call('slow', undefined)
    links.caller.end(new Error('the thread has ended'))
    await expect(slow).rejects.toThrow('the thread has ended')
    answer(1)
    await expect(links.caller.call('quick', undefined)).rejects.toThrow('the thread has ended')
  },
)
