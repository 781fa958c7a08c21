/** `blkferry mirror resume`: clients that are held after a hand-over go on at the source. */
import { defineCommand } from './command.ts'
import { ANSWER_MS_MAX, control, printMirror, withControl } from './control-command.ts'

export const mirrorResumeCommand = defineCommand({
  name: 'mirror resume',
  summary: 'let clients that are held go on at the source',
  details:
    'For when the hand-over is not to be, after all. Never while anybody uses the target: the ' +
    'two disks would part ways.',
  positionals: [],
  options: { control },
  examples: ['blkferry mirror resume --control /run/guest.sock'],
  run: async (values, { output }) => {
    const call = { timeoutMs: ANSWER_MS_MAX }
    const resume = withControl(values.control, client => client.call('mirror-resume', {}, call))
    return printMirror(output, await resume)
  },
})
