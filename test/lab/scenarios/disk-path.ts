/** The path of a guest's disk through a proxy, alone: in, out, and all that can fail there. */
import { sleep } from '../clock.ts'
import { delayed, makeDisk, over, part, setTable } from '../disks.ts'
import { DrivenPath } from '../driven-path.ts'
import { Guest } from '../guest.ts'
import type { Figures, Lab, Scenario } from '../scenario.ts'

const NAME = 'web1'
const DISK = `local-${NAME}`
const BELOW = 'below'
const SECTORS = 131_072
/** A block that the disk refuses (sectors). */
const BAD = 40_000
/** As many as the guest writes to within a second or two. */
const BAD_SECTORS = 2048
const SWAPS = 20
const DEATHS = 20
/** Longest time without an acknowledged write that a dead or hung proxy may cause (ms). */
const STALL_MS_MAX = 2000
const SLOW_WRITE_MS = 2500
/** As long as a write that is under way takes, and more. */
const LATE_MS = 6000

/** Below the guest's device is another one, whose table says what is wrong with the disk. */
async function prepare(lab: Lab): Promise<{ guest: Guest; path: DrivenPath }> {
  const below = await makeDisk(lab.a, BELOW, 0)
  await lab.a.run(`dmsetup create ${DISK} --table '${over(`${below} 0`)}'`)
  const disk = `/dev/mapper/${DISK}`
  const guest = await Guest.create(lab.a, { name: NAME, disks: [specification(disk)] })
  await guest.load('steady', 20_000)
  return { guest, path: await DrivenPath.open(lab.a, disk) }
}

const specification = (disk: string): string => `format=raw,access=rw,target=${disk}`

async function finish(guest: Guest, path: DrivenPath): Promise<number> {
  await path.ask('stop')
  await path.expectNothingLeft()
  path.close()
  await guest.expectWriting()
  return (await guest.expectIntact()).acknowledged
}

const swap: Scenario = {
  name: 'path-swap',
  sentence: `a guest is put on a proxy and taken off ${SWAPS} times, and notices nothing`,
  isCore: false,
  run: async lab => {
    const { guest, path } = await prepare(lab)
    const gaps: number[] = []
    for (let count = 0; count < SWAPS; count++) {
      await guest.reset()
      await path.ask('start')
      await sleep(500)
      await path.ask('stop')
      gaps.push(await guest.longestGapMs())
      lab.say(`swap ${count + 1}: longest gap ${gaps.at(-1)} ms`)
    }
    return { ...spread(gaps), acknowledged: await finish(guest, path) }
  },
}

const deaths: Scenario = {
  name: 'path-proxy-dies',
  sentence: `a proxy is killed or stopped ${DEATHS} times: nothing lost, stalls under 2 s`,
  isCore: false,
  run: async lab => {
    const { guest, path } = await prepare(lab)
    await path.ask('start')
    const stalls: Record<string, number[]> = { SIGKILL: [], SIGSTOP: [] }
    for (let count = 0; count < DEATHS; count++) {
      const signal = count % 2 === 0 ? 'SIGKILL' : 'SIGSTOP'
      await path.ask('standby')
      await guest.reset()
      await path.signal(signal, 'replaced')
      await guest.expectWriting()
      stalls[signal]!.push(await guest.longestGapMs())
      lab.say(`${signal}: stall ${stalls[signal]!.at(-1)} ms`)
    }
    const acknowledged = await finish(guest, path)
    const all = Object.values(stalls).flat()
    if (Math.max(...all) > STALL_MS_MAX) throw new Error(`stalls in ms: ${all.join(' ')}`)
    const [killed, stopped] = [spread(stalls.SIGKILL!), spread(stalls.SIGSTOP!)]
    return { killed: killed.gaps ?? '', stopped: stopped.gaps ?? '', acknowledged }
  },
}

const lateWrite: Scenario = {
  name: 'path-late-write',
  sentence: 'what a dead proxy had under way on a slow disk does not overwrite what came later',
  isCore: false,
  run: async lab => {
    const { guest, path } = await prepare(lab)
    await path.ask('start')
    await setTable(lab.a, BELOW, delayed(0, SLOW_WRITE_MS))
    for (const signal of ['SIGKILL', 'SIGSTOP']) {
      await path.ask('standby')
      await path.signal(signal, 'replaced')
      await sleep(LATE_MS)
      lab.say(`${signal}: replaced`)
    }
    await setTable(lab.a, BELOW, over(part(0)))
    return { acknowledged: await finish(guest, path) }
  },
}

const diskError: Scenario = {
  name: 'path-disk-error',
  sentence: 'an error of the disk itself reaches the guest, which goes on without the proxy',
  isCore: false,
  run: async lab => {
    const { guest, path } = await prepare(lab)
    await path.ask('start')
    const told = path.ask('event')
    const load = `dmsetup load ${BELOW} && dmsetup resume ${BELOW}`
    await lab.a.run(load, { input: withBadBlocks() })
    const { result } = await told
    if ((result as { event: string }).event !== 'lost') throw new Error('the proxy was replaced')
    await guest.expectWriting()
    const errors = (await guest.status()).reduce((sum, disk) => sum + disk.errors, 0)
    if (errors === 0) throw new Error('the guest has seen no error')
    await path.ask('stop')
    await path.expectNothingLeft()
    path.close()
    const { bad } = await guest.verify()
    return { errors, bad }
  },
}

const crash: Scenario = {
  name: 'path-crash',
  sentence: 'what a crash leaves of a path is found and undone, and the guest writes all along',
  isCore: false,
  run: async lab => {
    const { guest, path: first } = await prepare(lab)
    await first.ask('start')
    await guest.reset()
    await first.crash()
    await guest.expectWriting()
    const second = await DrivenPath.open(lab.a, `/dev/mapper/${DISK}`)
    const { ms } = await second.ask('restore')
    await second.expectNothingLeft()
    second.close()
    await guest.expectWriting()
    const gap = await guest.longestGapMs()
    return { restored: `${ms} ms`, gap, acknowledged: (await guest.expectIntact()).acknowledged }
  },
}

const discarded: Scenario = {
  name: 'path-discarded',
  sentence: 'a sealed disk parks what the guest sends; when it is discarded the guest can be ended',
  isCore: false,
  run: async lab => {
    const { guest, path } = await prepare(lab)
    await path.ask('start')
    const sealed = await path.ask('seal')
    const before = await guest.acknowledged()
    await sleep(1000)
    if ((await guest.acknowledged()) !== before) throw new Error('a sealed disk takes writes')
    await path.ask('discard')
    await guest.destroy()
    await path.ask('stop')
    await path.expectNothingLeft()
    path.close()
    return { sealed: `${sealed.ms} ms` }
  },
}

function withBadBlocks(): string {
  const behind = BAD + BAD_SECTORS
  const [device, start] = part(0).split(' ')
  const rest = `${behind} ${SECTORS - behind} linear ${device} ${Number(start) + behind}`
  return `0 ${BAD} linear ${part(0)}\n${BAD} ${BAD_SECTORS} error\n${rest}\n`
}

function spread(all: readonly number[]): Figures {
  const sorted = [...all].sort((one, other) => one - other)
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0
  return { gaps: `${sorted[0]}-${sorted.at(-1)} ms, median ${median}` }
}

export const diskPaths: readonly Scenario[] = [swap, deaths, lateWrite, diskError, crash, discarded]
