/** What others try beside a migration; it goes on. */
import { now } from '../clock.ts'
import { GUEST, MOMENTS, migrateUntil, REFUSED } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Scenario } from '../scenario.ts'

const KEY_FILE = '/lab/other-key'
/** In a dom0 that does all in software. */
const ATTEMPT = { timeoutMs: 120_000 }

/** Connects to each URI of the command line, and prints what comes of it. */
const CONNECT = `
import { NbdClient } from '/usr/local/lib/blkferry/node_modules/nbd-client-ts/dist/index.js'
for (const uri of process.argv.slice(2)) {
  const said = await NbdClient.connect(uri).then(() => 'CONNECTED', error => error.message)
  console.log(said)
}
process.exit(0)
`

export const wrongKey: Scenario = {
  name: 'wrong-key',
  sentence: 'a client with another key, or none, is refused by the export, and the copy goes on',
  isCore: false,
  run: async lab => {
    const { a, b, say } = lab
    const { guest, migration } = await migrateUntil(lab, 'copying')
    const { session } = await migration.reach('the copy', MOMENTS.copying)
    const sockets = await b.run('ss -Htlnp')
    const port = /:(\d+) .*"node"/.exec(sockets)?.[1]
    if (port === undefined) throw new Error(`no export listens on ${b.name}:\n${sockets}`)
    await a.write(KEY_FILE, `${session}:${'5a'.repeat(32)}\nsomebody:${'5a'.repeat(32)}\n`)
    await a.write('/lab/connect.mjs', CONNECT)
    const place = `${b.address}:${port}/x`
    const uris = [session, 'somebody'].map(
      name => `nbds://${name}@${place}?tls-psk-file=${KEY_FILE}`,
    )
    const words = [...uris, `nbd://${place}`].map(uri => `'${uri}'`).join(' ')
    const said = (await a.run(`node /lab/connect.mjs ${words}`, ATTEMPT)).trim().split('\n')
    for (const one of said) say(`it is told: ${one}`)
    if (said.length !== 3 || said.includes('CONNECTED')) throw new Error('the export let it in')
    await migration.expectExit(0)
    return await expectOneOwner(lab, guest, b)
  },
}

export const twoAtOnce: Scenario = {
  name: 'two-at-once',
  sentence: 'a second migration of the same guest is refused at once, and the first goes on',
  isCore: false,
  run: async lab => {
    const { a, b, say } = lab
    const { guest, migration } = await migrateUntil(lab, 'copying')
    const start = now()
    const second = await a.attempt(`blkferry migrate ${GUEST} ${b.address}`, ATTEMPT)
    say(`the second ended with ${second.exitCode} after ${Math.round(now() - start)} ms`)
    if (second.exitCode !== REFUSED || !second.stderr.includes('is being moved by session')) {
      throw new Error(`the second ended with ${second.exitCode}: ${second.stderr}`)
    }
    await migration.expectExit(0)
    return await expectOneOwner(lab, guest, b)
  },
}
