/**
 * Real netlink sockets. Most kernels that run tests have no nbd; then the error has to be clear.
 */
import { expect, test } from 'vitest'
import { KernelNbd } from '../../src/host/kernel-nbd.ts'
import { NetlinkError } from '../../src/host/netlink-error.ts'
import { type Family, NetlinkSocket } from '../../src/host/netlink-socket.ts'
import { close, socketpair } from '../../src/io/libc.ts'

const CONTROLLER: Family = { id: 16, name: 'nlctrl', version: 2, groups: new Map() }

async function failure(work: Promise<unknown>): Promise<NetlinkError> {
  try {
    await work
  } catch (error) {
    expect(error).toBeInstanceOf(NetlinkError)
    return error as NetlinkError
  }
  throw new Error('did not fail')
}

test('without the module, opening says which one to load; with it, there is a state', async () => {
  const opened = await KernelNbd.open().catch((error: unknown) => error)
  if (opened instanceof KernelNbd) {
    expect(Array.isArray(await opened.status())).toBe(true)
    opened.close()
    return
  }
  expect(opened).toBeInstanceOf(NetlinkError)
  expect(opened).toMatchObject({
    code: 'missing',
    message: expect.stringContaining('modprobe nbd'),
  })
})

test('a family is found by name, with its number and groups', async () => {
  const socket = NetlinkSocket.open()
  const family = await socket.family('nlctrl')
  expect(family).toMatchObject({ id: 16, name: 'nlctrl' })
  expect([...family.groups.keys()]).toEqual(['notify'])
  socket.close()
})

test('requests made at once each get their own answer', async () => {
  const socket = NetlinkSocket.open()
  const all = await Promise.allSettled([
    socket.family('nlctrl'),
    socket.family('no-such'),
    socket.family('nlctrl'),
  ])
  expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  socket.close()
})

test('too many requests at once are refused, and the socket goes on', async () => {
  const socket = NetlinkSocket.open()
  const asked = Array.from({ length: 70 }, () => socket.family('nlctrl'))
  const settled = await Promise.allSettled(asked)
  expect(settled.filter(({ status }) => status === 'rejected')).toHaveLength(6)
  await socket.family('nlctrl')
  socket.close()
})

test("an errno becomes an error with its name, and the kernel's words if any", async () => {
  const socket = NetlinkSocket.open()
  // A family's name as a number of four bytes without an end: the policy refuses it.
  const long = { type: 2, text: 'x'.repeat(100) }
  const refused = await failure(socket.request(CONTROLLER, 3, [long]))
  expect(['EINVAL', 'ERANGE']).toContain(refused.code)
  expect(refused.message).not.toContain('the kernel refuses')
  expect((await failure(socket.request(CONTROLLER, 99, []))).code).toBe('ENOTSUP')
  socket.close()
})

test('a closed socket refuses, and closing ends a wait for notices', async () => {
  const socket = NetlinkSocket.open()
  const family = await socket.family('nlctrl')
  socket.join(family.groups.get('notify')!)
  const notices = socket.nextNotices(family)
  socket.close()
  socket.close()
  expect(await notices).toEqual([])
  expect((await failure(socket.family('nlctrl'))).code).toBe('closed')
})

test('a wait for an answer ends at its deadline and closes the socket', async () => {
  // A peer that takes everything and says nothing.
  const [near, far] = socketpair()
  const socket = NetlinkSocket.over(near, 30)
  expect((await failure(socket.request(CONTROLLER, 3, []))).code).toBe('timeout')
  expect((await failure(socket.request(CONTROLLER, 3, []))).code).toBe('closed')
  close(far)
})
