/** `blkferry doctor`: whether this host and another one are ready, and what to do if not. */
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { ControlError } from '../control/control-error.ts'
import type { Finding } from '../daemon/session-status.ts'
import { defineCommand } from './command.ts'
import { PEER_ANSWER, sshAccess, sshOption, withDaemon } from './daemon-command.ts'
import { CommandFailure, EXIT } from './exit-codes.ts'
import { optional, text } from './options.ts'

const NODE_VERSION_MIN = 20

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'look whether this host and another one are ready for a migration',
  details:
    'Each line is one thing that was looked at; what is not good has its remedy below it. Exit ' +
    'code 1 if something is BAD. Of HOST: xl, tools, modules, memory, one port, and the disks ' +
    'under the names that they have here. Run it there as well: Node.js and the hotplug script ' +
    'are seen only on the host itself.',
  positionals: [{ name: 'HOST', help: 'the other host, looked at through ssh', isOptional: true }],
  options: {
    domain: optional(text('DOMAIN'), 'a running guest: whether its disks can be moved'),
    'ssh-option': sshOption,
  },
  examples: ['blkferry doctor', 'blkferry doctor host2 --domain web1'],
  run: async (values, { output }, [host]) => {
    const { domain } = values
    const own = findingsHere(process.env.PATH ?? '')
    const params = {
      ssh: sshAccess(values['ssh-option']),
      ...(host === undefined ? {} : { host }),
      ...(domain === undefined ? {} : { domain }),
    }
    const asked = await withDaemon(client => client.call('doctor', params, PEER_ANSWER)).catch(
      noDaemon,
    )
    const here = [...own, ...asked.here]
    const { there } = asked
    const hosts = [
      ...(host === undefined ? here.map(lineOf) : ['this host:', ...here.map(lineOf)]),
      ...(there.length === 0 ? [] : ['', `${host}:`, ...there.map(lineOf)]),
    ]
    output.result({ here, there }, hosts.join('\n'))
    const bad = [...here, ...there].filter(({ state }) => state === 'bad').length
    if (bad === 0) return EXIT.ok
    const things = bad === 1 ? '1 thing is' : `${bad} things are`
    throw new CommandFailure(EXIT.failed, `${things} in the way: see the remedies above`)
  },
})

const WORDS = { good: 'ok', warning: 'warning', bad: 'BAD' } as const

function lineOf({ name, state, found, remedy }: Finding): string {
  const line = `${WORDS[state].padEnd(9)}${name}: ${found}`
  return remedy === undefined ? line : `${line}\n         -> ${remedy}`
}

/** A daemon that cannot be reached is a finding too, and the reason why there are no others. */
function noDaemon(error: unknown): { here: Finding[]; there: Finding[] } {
  if (!(error instanceof ControlError)) throw error
  const remedy = 'run this as root; see /var/log/blkferry.log or journalctl -u blkferry'
  return { here: [{ name: 'daemon', state: 'bad', found: error.message, remedy }], there: [] }
}

/** What the daemon cannot see, because it is about the one who asks. */
export function findingsHere(path: string): Finding[] {
  return [lookAtNode(), lookAtScript(), lookAtFrontEnd(path)]
}

function lookAtNode(): Finding {
  const name = 'node'
  const found = `${process.version}, ${process.execPath}`
  const isFine = Number.parseInt(process.versions.node, 10) >= NODE_VERSION_MIN
  if (isFine) return { name, state: 'good', found }
  return { name, state: 'bad', found, remedy: `install Node.js ${NODE_VERSION_MIN} or later` }
}

function lookAtScript(): Finding {
  const name = 'hotplug-script'
  const file = '/etc/xen/scripts/block-ferry'
  if (existsSync(file)) return { name, state: 'good', found: file }
  return { name, state: 'bad', found: `${file} is missing`, remedy: 'run scripts/install' }
}

function lookAtFrontEnd(path: string): Finding {
  const name = 'xl-front-end'
  const first = path
    .split(delimiter)
    .map(folder => join(folder, 'xl'))
    .find(file => existsSync(file))
  if (first === undefined) {
    return { name, state: 'bad', found: 'there is no xl', remedy: 'install xen-utils' }
  }
  if (readFileSync(first, 'latin1').includes('blkferry')) {
    return { name, state: 'good', found: first }
  }
  const found = `${first} comes first in PATH, so xl migrate has no --copy-disks`
  const remedy = 'put /usr/local/sbin ahead in PATH, or use blkferry migrate'
  return { name, state: 'warning', found, remedy }
}
