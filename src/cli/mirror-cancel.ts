/** `blkferry mirror cancel`: stop mirroring; the source stays what clients use. */
import { defineCommand } from './command.ts'
import { control, printMirror, withControl } from './control-command.ts'

/** Requests to a slow target are waited for. */
const CANCEL_MS_MAX = 60_000

export const mirrorCancelCommand = defineCommand({
  name: 'mirror cancel',
  summary: 'stop the mirror; clients go on at the source',
  details: 'The target is left as it is, which is of no use to anybody.',
  positionals: [],
  options: { control },
  examples: ['blkferry mirror cancel --control /run/guest.sock'],
  run: async (values, { output }) => {
    const call = { timeoutMs: CANCEL_MS_MAX }
    const cancel = withControl(values.control, client => client.call('mirror-cancel', {}, call))
    return printMirror(output, await cancel)
  },
})
