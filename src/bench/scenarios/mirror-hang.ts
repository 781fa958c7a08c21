/**
 * Targets in trouble: one that hangs while guest writes go to both disks, and one that is gone for
 * a while. What counts is what the guest notices, and what must be sent again.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cleanup } from '../cleanup.ts'
import { makeDisk, mustBeEqual } from '../measure/disks.ts'
import { Guest, wallMs } from '../measure/guest.ts'
import { startSource } from '../measure/mirror-source.ts'
import { STALL_MS } from '../measure/own-source.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { READY_MS_MAX, serveTarget, settle } from './mirror-disks.ts'

const PACE = 2000
const GUEST_DEPTH = 16
const DISK_BYTES = 256 * 2 ** 20

export const MIRROR_HANG: Scenario = {
  name: 'mirror-hang',
  title: 'The target hangs',
  shows:
    `The longest guest write (of ${PACE} a second) while a target is ` +
    'stopped for seconds in write-blocking mode; ours has a stall budget ' +
    `of ${STALL_MS} ms.`,
  doesNotShow:
    'What a guest’s own timeouts would have made of a longer hang, and ' +
    'other ways to hang: here the connection stays up and nothing answers.',
  plotted: 'max',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.fewRepetitions,
  run: hang,
}

async function hang(bench: Bench): Promise<void> {
  const { plan, folder, record } = bench
  const name = `stopped for ${plan.hangSeconds} s`
  const subjects = ['blkferry', 'qemu blocking'] as const
  await interleave(bench, name, subjects, plan.fewRepetitions, async (subject, repetition) => {
    await using scope = new Cleanup()
    const path = await makeDisk(join(folder, 'source.img'), DISK_BYTES, 'full')
    const target = await serveTarget(scope, folder, { size: DISK_BYTES, filling: 'zero' })
    const options = { path, folder, copyMode: 'write-blocking' } as const
    const source = scope.use(await startSource(subject, options))
    await source.start(target)
    await source.ready(READY_MS_MAX)
    const load = { uri: source.uri, rate: PACE, depth: GUEST_DEPTH, size: DISK_BYTES, folder }
    const guest = scope.use(await Guest.start(load, 1))

    const stoppedAt = wallMs()
    target.service.kill('SIGSTOP')
    await sleep(plan.hangSeconds * 1000)
    target.service.kill('SIGCONT')
    await sleep(500)
    const writes = await guest.stop()
    const seen = writes.between(stoppedAt, wallMs())
    record.add(name, 'max', subject, seen.microseconds(1))
    record.add(name, 'iops', subject, writes.iops(stoppedAt, stoppedAt + plan.hangSeconds * 1000))
    await source.ready(READY_MS_MAX)
    await settle(source)
    await source.complete()
    if (repetition === 0) await mustBeEqual(path, target.path, subject)
  })
}
