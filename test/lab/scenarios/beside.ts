/** What others try beside a migration; it goes on. */
import { now } from '../clock.ts'
import type { Host } from '../host.ts'
import {
  AT_SOURCE,
  GUEST,
  MOMENTS,
  migrateUntil,
  REFUSED,
  RunningMigration,
  SLOW_COPY,
} from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Lab, Scenario } from '../scenario.ts'

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
    await a.write(KEY_FILE, `${session}:${'5a'.repeat(32)}\nsomebody:${'5a'.repeat(32)}\n`)
    const said = await connectTo(lab, [session, 'somebody', undefined])
    for (const one of said) say(`it is told: ${one}`)
    if (said.length !== 3 || said.includes('CONNECTED')) throw new Error('the export let it in')
    await migration.expectExit(0)
    return await expectOneOwner(lab, guest, b)
  },
}

export const replayedKey: Scenario = {
  name: 'replayed-key',
  sentence: 'the key of a migration that was cancelled opens nothing of the next one',
  isCore: false,
  run: async lab => {
    const { a, b, say } = lab
    const { guest, migration: first } = await migrateUntil(lab, 'copying')
    const { session } = await first.reach('the copy', MOMENTS.copying)
    const line = (await b.run(`cat /run/blkferry/sessions/${session}/key`)).trim()
    await a.write(KEY_FILE, `${line}\n`)
    const [own] = await connectTo(lab, [session])
    if (own !== 'CONNECTED') throw new Error(`the session's own key is told: ${own}`)
    await a.run(`blkferry cancel ${GUEST}`)
    await first.expectExit(AT_SOURCE)
    const second = new RunningMigration(a, b, SLOW_COPY)
    const next = await second.reach('the second copy', MOMENTS.copying)
    await a.write(KEY_FILE, `${line}\n${next.session}:${line.split(':')[1]}\n`)
    const said = await connectTo(lab, [session, next.session])
    for (const one of said) say(`it is told: ${one}`)
    if (said.length !== 2 || said.includes('CONNECTED')) throw new Error('the export let it in')
    await second.expectExit(0)
    return await expectOneOwner(lab, guest, b)
  },
}

/**
 * What each attempt to reach the export on host b is told: with this name's key of `KEY_FILE`, or,
 * where it is undefined, with none.
 */
async function connectTo(
  { a, b }: Lab,
  names: readonly (string | undefined)[],
): Promise<readonly string[]> {
  await a.write('/lab/connect.mjs', CONNECT)
  const place = `${b.address}:${await exportOf(b)}`
  const uris = names.map(name =>
    name === undefined ? `nbd://${place}` : `nbds://${name}@${place}?tls-psk-file=${KEY_FILE}`,
  )
  const words = uris.map(uri => `'${uri}'`).join(' ')
  return (await a.run(`node /lab/connect.mjs ${words}`, ATTEMPT)).trim().split('\n')
}

/** Port and name, as the end of a URI. */
async function exportOf(host: Host): Promise<string> {
  const sockets = await host.run('ss -Htlnp')
  const port = /:(\d+) .*"node"/.exec(sockets)?.[1]
  const name = /--export (\S+)/.exec(await host.run("pgrep -af '[-]-export'"))?.[1]
  if (port === undefined || name === undefined) {
    throw new Error(`no export listens on ${host.name}:\n${sockets}`)
  }
  return `${port}/${name}`
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
