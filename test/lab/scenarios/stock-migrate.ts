import { Beats } from '../beats.ts'
import { now, seconds } from '../clock.ts'
import { makeDisk, over } from '../disks.ts'
import { Guest } from '../guest.ts'
import type { Scenario } from '../scenario.ts'

/** The baseline: what xl alone does, given storage that both hosts share. */
export const stockMigrate: Scenario = {
  name: 'stock-migrate',
  sentence: 'a stock xl migrate with shared storage keeps all writes; its downtime is the baseline',
  isCore: true,
  run: async ({ a, b, say }) => {
    await makeDisk(a, 'store', 0)
    await a.run(`dmsetup create web1 --table '${over('/dev/mapper/store 0')}'`)
    await a.run(`qemu-nbd -f raw --cache=none --discard=unmap -b 10.9.0.1 -p 10809 -t -e 4 --fork \\
      /dev/mapper/store`)
    await b.run('nbd-client 10.9.0.1 10809 /dev/nbd0 -C 1')
    await b.run(`dmsetup create web1 --table '${over('/dev/nbd0 0')}'`)
    const disk = 'format=raw,access=rw,backendtype=phy,target=/dev/mapper/web1'
    const guest = await Guest.create(a, { name: 'web1', disks: [disk] })
    await guest.load('steady')
    const beats = await Beats.follow(guest, [a, b])
    say('the guest writes')
    const start = now()
    await a.run('xl migrate web1 xenb', { timeoutMs: 180_000 })
    const took = now() - start
    guest.host = b
    await guest.expectWriting()
    const silence = beats.longestSilence(start)
    await beats.close()
    const { acknowledged } = await guest.expectIntact()
    return { took: seconds(took), downtime: seconds(silence.ms), acknowledged }
  },
}
