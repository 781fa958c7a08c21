import { expect, it } from 'vitest'
import { Request } from '../../src/block/request.ts'
import { RequestQueue } from '../../src/block/request-queue.ts'

const requests = Array.from({ length: 300 }, () => new Request())

it('keeps the order while it wraps around and grows', () => {
  const queue = new RequestQueue(512)
  let taken = 0
  for (const [index, request] of requests.entries()) {
    expect(queue.push(request)).toBe(true)
    if (index % 3 === 0) expect(queue.shift()).toBe(requests[taken++])
  }
  while (queue.count > 0) expect(queue.shift()).toBe(requests[taken++])
  expect(taken).toBe(requests.length)
  expect(queue.shift()).toBeUndefined()
})

it('takes no more than its limit', () => {
  const queue = new RequestQueue(2)
  expect([0, 1, 2].map(i => queue.push(requests[i]!))).toEqual([true, true, false])
  expect(queue.shift()).toBe(requests[0])
  expect(queue.push(requests[2]!)).toBe(true)
})
