/** `blkferry mirror wait`: until the mirror is ready to be completed. */
import { defineCommand } from './command.ts'
import { assertNotLost, control, withControl } from './control-command.ts'
import { EXIT } from './exit-codes.ts'
import { followMirror } from './follow.ts'
import { seconds, withDefault } from './options.ts'

export const mirrorWaitCommand = defineCommand({
  name: 'mirror wait',
  summary: 'wait until the mirror is ready to be completed',
  details:
    'Shows progress meanwhile: redrawn in place on a terminal, a line now and then elsewhere. ' +
    'Ends with exit code 5 if the mirror fails or is cancelled, and with 8 on timeout; the ' +
    'mirror goes on then.',
  positionals: [],
  options: {
    control,
    timeout: withDefault(seconds, '86400', 'how long to wait, in seconds'),
  },
  examples: [
    'blkferry mirror wait --control /run/guest.sock',
    'blkferry mirror wait --control /run/guest.sock --timeout 3600',
  ],
  run: async (values, { output }) =>
    await withControl(values.control, async client => {
      const status = await followMirror(client, output, {
        isEnd: ({ state }) => state === 'ready' || state === 'concluded',
        timeoutMs: values.timeout * 1000,
      })
      assertNotLost(status)
      return EXIT.ok
    }),
})
