/** `blkferry mirror start`: begin to copy the disk to a target. */
import { resolve } from 'node:path'
import type { MirrorStartParams } from '../control/messages.ts'
import { COPY_MODE_CHOICES, GRANULARITY_MAX, GRANULARITY_MIN } from '../control/status.ts'
import { defineCommand } from './command.ts'
import { control, printMirror, withControl } from './control-command.ts'
import { UsageError } from './exit-codes.ts'
import {
  choice,
  integer,
  nbdUri,
  optional,
  rate,
  required,
  size,
  text,
  withDefault,
} from './options.ts'

/** Connecting to the target, with TLS and its size and flags, comes before the answer. */
const START_MS_MAX = 60_000

export const copyModeHelp =
  'how guest writes reach the target: background (copied later), write-blocking (acknowledged ' +
  'when on both disks), auto (background first, then write-blocking)'

export const mirrorStartCommand = defineCommand({
  name: 'mirror start',
  summary: 'begin to copy the disk to a target while clients go on',
  details:
    'Returns once the target is connected and the copy runs. The target must be writable and at ' +
    'least as large as the disk; all that it holds is overwritten. An nbds target proves that it ' +
    'knows the pre-shared key (--tls-psk), or shows a certificate: then its URI may name a ' +
    'folder with the ca-cert.pem of its authority, and the name to expect: ' +
    '?tls-certificates=DIR&tls-hostname=NAME.',
  positionals: [],
  options: {
    control,
    target: required(nbdUri, 'the export to copy to'),
    'copy-mode': withDefault(choice(COPY_MODE_CHOICES), 'auto', copyModeHelp),
    bandwidth: withDefault(rate, '0', 'limit of the copy in bytes per second, 0 for none'),
    granularity: withDefault(
      size,
      '64K',
      'bytes per bit of the dirty bitmap, a power of two from 4K to 1M',
    ),
    'stall-ms': withDefault(
      integer(1, 3_600_000),
      '100',
      'how long a guest write may wait for the target in write-blocking mode, in milliseconds',
    ),
    'reconnect-seconds': withDefault(
      integer(0, 86_400),
      '300',
      'how long a lost target is tried again before the mirror fails, 0 for as long as it takes',
    ),
    'tls-psk': optional(
      text('FILE'),
      'file of pre-shared keys, for an nbds target: the URI’s user is the identity',
    ),
  },
  examples: [
    'blkferry mirror start --control /run/guest.sock --target nbd://dest:10809/guest',
    'blkferry mirror start --control /run/guest.sock --target nbds://dest/guest ' +
      '--tls-psk /etc/psk',
  ],
  run: async (values, { output }) => {
    const params = startParams(values)
    const call = { timeoutMs: START_MS_MAX }
    const status = await withControl(values.control, client =>
      client.call('mirror-start', params, call),
    )
    return printMirror(output, status)
  },
})

function startParams(values: {
  readonly target: string
  readonly 'copy-mode': MirrorStartParams['copyMode']
  readonly bandwidth: number
  readonly granularity: number
  readonly 'stall-ms': number
  readonly 'reconnect-seconds': number
  readonly 'tls-psk': string | undefined
}): MirrorStartParams {
  const { granularity } = values
  const isPower = Number.isInteger(Math.log2(granularity))
  if (!isPower || granularity < GRANULARITY_MIN || granularity > GRANULARITY_MAX) {
    throw new UsageError(`--granularity must be a power of two from 4K to 1M, not ${granularity}`)
  }
  const psk = values['tls-psk']
  return {
    target: values.target,
    copyMode: values['copy-mode'],
    bandwidth: values.bandwidth,
    granularity,
    stallMs: values['stall-ms'],
    reconnectSeconds: values['reconnect-seconds'],
    // The proxy has a working directory of its own.
    ...(psk === undefined ? {} : { tlsPskFile: resolve(psk) }),
  }
}
