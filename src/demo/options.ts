/** The demo's command line, a table like the commands of blkferry itself have. */
import { type Command, type Context, defineCommand } from '../cli/command.ts'
import { EXIT, type ExitCode } from '../cli/exit-codes.ts'
import { choice, flag, integer, nbdUri, optional, rate, size, withDefault } from '../cli/options.ts'
import { COPY_MODE_CHOICES } from '../control/status.ts'

export interface DemoOptions {
  /** Bytes. */
  readonly size: number
  /** Writes per second of the client; 0 for as many as it can. */
  readonly rate: number
  /** Bytes per second; 0 for no limit. */
  readonly bandwidth: number
  readonly engine: 'auto' | 'uring' | 'libuv'
  readonly copyMode: (typeof COPY_MODE_CHOICES)[number]
  /** An export to migrate to; without one the demo serves a file itself. */
  readonly target: string | undefined
  readonly verify: boolean
  readonly keep: boolean
}

/** Ends with EXIT.difference if anything at all is not as it must be. */
export function demoCommand(
  run: (options: DemoOptions, context: Context) => Promise<boolean>,
): Command {
  return defineCommand({
    name: 'demo',
    summary: 'migrate a disk live, under a client that keeps writing, and prove the outcome',
    details:
      'Makes a disk image with a file system in the temporary folder (TMPDIR), serves it, lets a ' +
      'client write to it, migrates it to a second image or to --target, hands over, and checks ' +
      'that nothing was lost.',
    positionals: [],
    options: {
      size: withDefault(size, '1G', 'size of the disk, at least 64M'),
      rate: withDefault(
        integer(0, 1_000_000),
        '1000',
        'writes per second of the client, 0: all it can',
      ),
      bandwidth: withDefault(rate, '0', 'limit of the copy in bytes per second, 0 for none'),
      engine: withDefault(choice(['auto', 'uring', 'libuv']), 'auto', 'how I/O is done'),
      'copy-mode': withDefault(
        choice(COPY_MODE_CHOICES),
        'auto',
        'how the client’s writes reach the target: see blkferry mirror start --help',
      ),
      target: optional(nbdUri, 'migrate to this export, all that it holds is overwritten'),
      verify: flag('let the switchover read and compare both disks, while the client is held'),
      keep: flag('leave the images where they are, and say where'),
    },
    examples: [
      'scripts/demo',
      'scripts/demo --size 8G --rate 5000',
      'scripts/demo --bandwidth 100M --copy-mode write-blocking',
      'scripts/demo --target nbd://127.0.0.1:10809/disk',
    ],
    run: async (values, context): Promise<ExitCode> => {
      const options = { ...values, copyMode: values['copy-mode'] }
      return (await run(options, context)) ? EXIT.ok : EXIT.difference
    },
  })
}
