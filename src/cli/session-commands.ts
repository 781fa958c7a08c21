/** Short commands that ask the daemon one thing about a session or a disk. */
import { defineCommand } from './command.ts'
import {
  ANSWER,
  findSession,
  PEER_ANSWER,
  sshAccess,
  sshOption,
  withDaemon,
} from './daemon-command.ts'
import { CommandFailure, EXIT } from './exit-codes.ts'
import { choice, optional } from './options.ts'
import { sessionLine } from './session-progress.ts'
import { diskText } from './status-text.ts'

const SESSION = {
  name: 'SESSION',
  help: 'the guest’s name, or the session’s as blkferry status has it, whole or how it begins',
}
const DISK = {
  name: 'DISK',
  help: 'the disk’s name or path, as after target= or phy: in the configuration',
}

export const cancelCommand = defineCommand({
  name: 'cancel',
  summary: 'cancel a migration; the guest goes on at the source',
  details:
    'On the source host. Returns at once, while the daemon puts things back: blkferry status ' +
    'shows how far it is. Past the point of no return it is refused.',
  positionals: [SESSION],
  options: {},
  examples: ['blkferry cancel web1', 'blkferry cancel 7f3a'],
  run: async (_values, { output }, [given = '']) =>
    await withDaemon(async client => {
      const { session } = await findSession(client, given)
      const status = await client.call('session-cancel', { session }, ANSWER)
      output.result(status, sessionLine(status))
      return EXIT.ok
    }),
})

export const resolveCommand = defineCommand({
  name: 'resolve',
  summary: 'find out, or decide, where a guest is whose migration ended in doubt',
  details:
    'On the source host, when the link broke past the point of no return. The daemon asks the ' +
    'other host all the time; from now on it does so by the ssh of whoever calls this, and up to ' +
    'ten seconds are waited for an answer. With --force you decide, and must be right: --force ' +
    'source only if the guest does not run on the other host and never will, as when that host ' +
    'is switched off and its copy will be discarded: then the guest goes on here; --force ' +
    'destination only if it runs there: then the suspended guest here is destroyed. Two running ' +
    'guests would be two different disks.',
  positionals: [SESSION],
  options: {
    force: optional(choice(['source', 'destination']), 'who has the guest, without asking'),
    'ssh-option': sshOption,
  },
  examples: ['blkferry resolve web1', 'blkferry resolve web1 --force destination'],
  run: async (values, { output }, [given = '']) =>
    await withDaemon(async client => {
      const { session } = await findSession(client, given)
      const force = values.force === undefined ? null : (`${values.force}-owns` as const)
      const params = { session, force, ssh: sshAccess(values['ssh-option']) }
      const status = await client.call('session-resolve', params, PEER_ANSWER)
      output.result(status, sessionLine(status))
      if (status.outcome !== 'undefined') return EXIT.ok
      const advice = `look at ${status.peer} with xl list and blkferry status`
      throw new CommandFailure(EXIT.undefined, `${status.peer} does not answer: ${advice}`)
    }),
})

export const releaseCommand = defineCommand({
  name: 'release',
  summary: 'give up a disk that has moved away, or that no guest uses',
  details:
    'On the source host, once the guest runs well at the destination; or anywhere for a disk ' +
    'whose guest is not to start there any more. Nothing is deleted: the device or file is yours ' +
    'again, to wipe or to receive a disk; a guest is started on it only after blkferry claim. A ' +
    'logical volume whose guest had the stock script can be read again.',
  positionals: [DISK],
  options: {},
  examples: ['blkferry release web1-root', 'blkferry release /dev/vg0/web1'],
  run: async (_values, { output }, [disk = '']) =>
    await withDaemon(async client => {
      const role = await client.call('disk-release', { disk }, ANSWER)
      output.result(role, diskText(role))
      return EXIT.ok
    }),
})

export const claimCommand = defineCommand({
  name: 'claim',
  summary: 'say that this host owns a disk that it has released or lost',
  details:
    'So that its guest can be started here. A disk that blkferry has never seen needs none; one ' +
    'that was released, or to which a migration has failed, does. Only if no other host has a ' +
    'guest on it: the two copies would part ways.',
  positionals: [DISK],
  options: {},
  examples: ['blkferry claim web1-root'],
  run: async (_values, { output }, [disk = '']) =>
    await withDaemon(async client => {
      const role = await client.call('disk-claim', { disk }, ANSWER)
      output.result(role, diskText(role))
      return EXIT.ok
    }),
})
