/** `blkferry mirror status`: how far the mirror is, once or until it ends. */
import { WAIT_MS_MAX } from '../control/messages.ts'
import { defineCommand } from './command.ts'
import { ANSWER_MS_MAX, control, printMirror, withControl } from './control-command.ts'
import { EXIT } from './exit-codes.ts'
import { followMirror } from './follow.ts'
import { flag } from './options.ts'

export const mirrorStatusCommand = defineCommand({
  name: 'mirror status',
  summary: 'show how far the mirror is',
  positionals: [],
  options: {
    control,
    watch: flag('go on until the mirror has ended, for at most a day'),
  },
  examples: [
    'blkferry mirror status --control /run/guest.sock',
    'blkferry mirror status --control /run/guest.sock --watch --json',
  ],
  run: async (values, { output }) =>
    await withControl(values.control, async client => {
      if (values.watch) {
        const isEnd = (status: { readonly state: string }) => status.state === 'concluded'
        await followMirror(client, output, { isEnd, timeoutMs: WAIT_MS_MAX })
        return EXIT.ok
      }
      const call = { timeoutMs: ANSWER_MS_MAX }
      return printMirror(output, await client.call('mirror-status', {}, call))
    }),
})
