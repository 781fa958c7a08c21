/** `blkferry mirror set`: change limits of a running mirror. */
import type { MirrorSetParams } from '../control/messages.ts'
import { COPY_MODE_CHOICES } from '../control/status.ts'
import { defineCommand } from './command.ts'
import { ANSWER_MS_MAX, control, printMirror, withControl } from './control-command.ts'
import { UsageError } from './exit-codes.ts'
import { copyModeHelp } from './mirror-start.ts'
import { choice, integer, optional, rate } from './options.ts'

export const mirrorSetCommand = defineCommand({
  name: 'mirror set',
  summary: 'change the limits or the copy mode of a running mirror',
  details: 'What is not given stays as it is.',
  positionals: [],
  options: {
    control,
    bandwidth: optional(rate, 'limit of the copy in bytes per second, 0 for none'),
    'stall-ms': optional(
      integer(1, 3_600_000),
      'how long a guest write may wait for the target in write-blocking mode, in milliseconds',
    ),
    'copy-mode': optional(choice(COPY_MODE_CHOICES), copyModeHelp),
  },
  examples: [
    'blkferry mirror set --control /run/guest.sock --bandwidth 50M',
    'blkferry mirror set --control /run/guest.sock --copy-mode write-blocking',
  ],
  run: async (values, { output }) => {
    const { bandwidth, 'stall-ms': stallMs, 'copy-mode': copyMode } = values
    const params: MirrorSetParams = {
      ...(bandwidth === undefined ? {} : { bandwidth }),
      ...(stallMs === undefined ? {} : { stallMs }),
      ...(copyMode === undefined ? {} : { copyMode }),
    }
    if (Object.keys(params).length === 0) {
      throw new UsageError('mirror set needs one of --bandwidth, --stall-ms and --copy-mode')
    }
    const call = { timeoutMs: ANSWER_MS_MAX }
    const status = await withControl(values.control, client =>
      client.call('mirror-set', params, call),
    )
    return printMirror(output, status)
  },
})
