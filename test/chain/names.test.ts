/** Names that the kernel and the file system take, and by which leftovers are known. */
import { expect, test } from 'vitest'
import { hasFailedPath } from '../../src/chain/multipath-device.ts'
import { chainNames, filesOf, isChainDevice } from '../../src/chain/names.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../src/control/socket-path.ts'

test.each(['', 'a/b', 'a b', 'ä', 'x'.repeat(65), '../up'])(
  'a session called "%s" is refused',
  session => {
    expect(() => chainNames(session, 'xvda', '/run/blkferry')).toThrow(/must be letters/)
  },
)

test('the longest names fit into a socket path and a device name', () => {
  const names = chainNames('s'.repeat(59), 'xvda', '/run/blkferry/session')
  for (const path of [names.control, names.nbd]) {
    expect(Buffer.byteLength(path)).toBeLessThanOrEqual(SOCKET_PATH_BYTES_MAX)
  }
  expect(names.multipath.length).toBeLessThan(128)
})

test('two disks of a session, and two sessions, share no name', () => {
  const all = [
    chainNames('s1', 'xvda', '/run/b'),
    chainNames('s1', 'xvdb', '/run/b'),
    chainNames('s2', 'xvda', '/run/b'),
  ].flatMap(names => [names.fence, names.multipath, names.bypass, ...filesOf(names)])
  expect(new Set(all).size).toBe(all.length)
})

test('the log is among the files that go, unless its last words are wanted', () => {
  const names = chainNames('s1', 'xvda', '/run/b')
  expect(filesOf(names)).toContain(names.log)
  expect(filesOf(names, true)).toEqual(filesOf(names).filter(file => file !== names.log))
})

test('only what a disk path makes is taken for its device', () => {
  const { fence, multipath, bypass } = chainNames('s1', 'xvda', '/run/b')
  expect([fence, multipath, bypass].every(isChainDevice)).toBe(true)
  expect(['blkferry-web1', 'vg-web1', 'web1-mp'].some(isChainDevice)).toBe(false)
})

test.each([
  ['2 0 0 0 1 1 A 0 1 0 43:0 A 0 ', false],
  ['2 0 0 0 1 1 E 0 1 0 43:0 F 1 ', true],
  ['2 0 0 0 1 1 A 0 2 0 43:0 A 0 43:1 F 3 ', true],
])('of the status %s a failed path is known', (parameters, expected) => {
  const line = { start: 0, length: 8, kind: 'multipath', parameters }
  expect(hasFailedPath(line)).toBe(expected)
})
