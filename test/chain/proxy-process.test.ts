/** A proxy's process, as the chain starts and ends it. */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { chainNames } from '../../src/chain/names.ts'
import { ProxyProcess } from '../../src/chain/proxy-process.ts'
import { rehearsalFolder } from '../../src/control/socket-path.ts'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { temporary } from '../support/temporary.ts'

const POLL_MS = 5
const MS_MAX = 30_000

test('nothing is left of a rehearsal in the middle of which its process was killed', async () => {
  await using folder = await temporary()
  const names = chainNames('session', 'xvda', folder.path)
  const proxy = ProxyProcess.spawn({
    command: [process.execPath, BLKFERRY],
    node: folder.file('disk'),
    names,
    isStandby: true,
    isNice: false,
  })
  const scratch = rehearsalFolder(names.control, proxy.pid!)
  const end = performance.now() + MS_MAX
  while (!existsSync(scratch) && performance.now() < end) await sleep(POLL_MS)
  expect(existsSync(scratch)).toBe(true)
  await proxy.kill()
  expect(existsSync(scratch)).toBe(false)
}, 60_000)
