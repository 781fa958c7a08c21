import { seconds } from '../clock.ts'
import type { Scenario } from '../scenario.ts'

export const boot: Scenario = {
  name: 'boot',
  sentence: 'two hosts run Xen, reach each other over ssh, and go on from a saved state in seconds',
  isCore: true,
  needs: 'nothing',
  run: async ({ hosts, a, b }) => {
    await hosts.begin()
    const resumed = await hosts.resume('ready')
    for (const [host, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const info = await host.run('xl info')
      if (!/^xen_version\s+: 4\.17/m.test(info)) throw new Error(`xl info says:\n${info}`)
      const answer = await host.run(`ssh ${other.address} hostname`)
      if (answer.trim() !== other.address) throw new Error(`ssh to ${other.name} says ${answer}`)
    }
    return { resumed: seconds(resumed) }
  },
}
