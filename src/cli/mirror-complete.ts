/** `blkferry mirror complete`: hand over, with both disks identical. */
import { defineCommand } from './command.ts'
import { assertNotLost, control, GRACE_MS, printMirror, withControl } from './control-command.ts'
import { flag, seconds, withDefault } from './options.ts'

export const mirrorCompleteCommand = defineCommand({
  name: 'mirror complete',
  summary: 'hold the clients, copy what is left, and hand over',
  details:
    'Stops and drains the clients’ requests, copies the last dirty chunks and flushes the ' +
    'target. Both disks are identical then, and the clients stay held: start them at the ' +
    'target, or let them go on at the source with mirror resume. If it fails, the clients go on ' +
    'at the source.',
  positionals: [],
  options: {
    control,
    verify: flag(
      'read both disks and compare them while the clients are held; exit code 6 if they differ',
    ),
    resume: flag('let the clients go on at the source afterwards'),
    timeout: withDefault(
      seconds,
      '60',
      'how long it may take, in seconds, waiting until it is ready included',
    ),
  },
  examples: [
    'blkferry mirror complete --control /run/guest.sock',
    'blkferry mirror complete --control /run/guest.sock --verify --resume --timeout 600',
  ],
  run: async (values, { output }) => {
    const timeoutMs = Math.ceil(values.timeout * 1000)
    const params = { verify: values.verify, resume: values.resume, timeoutMs }
    const call = { timeoutMs: timeoutMs + GRACE_MS }
    const status = await withControl(values.control, client =>
      client.call('mirror-complete', params, call),
    )
    assertNotLost(status)
    return printMirror(output, status)
  },
})
