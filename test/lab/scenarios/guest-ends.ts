/** A guest that goes away while its disk is copied takes its migration with it. */
import { until } from '../clock.ts'
import { expectNothingLeft, expectOwner } from '../left-over.ts'
import { GUEST, migrateUntil } from '../migration.ts'
import type { Scenario } from '../scenario.ts'

const GONE_MS = 60_000
const CREATE = { timeoutMs: 120_000 }

/** `end`: a script on the guest's host. Its configuration has any end destroy the domain. */
function guestEnds(name: string, what: string, end: string, type: 'pvh' | 'pv' = 'pvh'): Scenario {
  return {
    name,
    sentence: `a guest that ${what} in mid-copy is gone, and so is its migration`,
    isCore: false,
    run: async lab => {
      const { a, b } = lab
      const { guest, migration } = await migrateUntil(lab, 'copying', { type })
      await a.run(end)
      const exitCode = await migration.end()
      if (exitCode === 0) throw new Error('a migration without a guest ended with 0')
      await until(`end of ${GUEST}`, GONE_MS, async () => {
        const { exitCode: found } = await a.attempt(`xl domid ${GUEST}`)
        return found !== 0 || undefined
      })
      await expectNothingLeft([a, b])
      await expectOwner(a, b, [`${GUEST}-0`])
      await a.run(`xl create -q ${guest.configPath}`, CREATE)
      return { exit: exitCode }
    },
  }
}

export const destroyed = guestEnds('destroyed', 'is destroyed', `xl destroy ${GUEST}`)

/** Without a program for it in the guest, its kernel reboots by itself. */
export const guestReboots = guestEnds('guest-reboots', 'reboots', `xl reboot ${GUEST}`)

/**
 * What the guest's kernel does on SysRq-o: there is no program in it that an order would start. A
 * PVH guest of this kernel halts for ever instead, and Xen hears nothing of it.
 */
export const guestPowersOff = guestEnds(
  'guest-powers-off',
  'powers off',
  `xl sysrq ${GUEST} o`,
  'pv',
)
