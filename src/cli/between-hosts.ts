/**
 * Commands that blkferry runs itself, here and on the other host: stdin and stdout are a
 * connection.
 */
import { Socket } from 'node:net'
import { defineCommand } from './command.ts'
import { withDaemon } from './daemon-command.ts'
import { EXIT } from './exit-codes.ts'
import { required, text } from './options.ts'
import { connectDaemon } from './start-daemon.ts'

const session = required(text('SESSION'), 'the session that it belongs to')

export const channelCommand = defineCommand({
  name: 'channel',
  summary: 'join stdin and stdout to the daemon (blkferry runs this through ssh)',
  positionals: [],
  options: {},
  examples: ['blkferry channel'],
  run: async () => {
    const socket = await connectDaemon()
    const input = new Socket({ fd: 0, readable: true, writable: false })
    const output = new Socket({ fd: 1, readable: false, writable: true })
    input.pipe(socket).pipe(output)
    // Whichever goes, nobody is left to hear the rest.
    await new Promise<void>(resolve => {
      for (const stream of [input, socket, output]) {
        stream.on('error', () => resolve())
        stream.on('close', () => resolve())
      }
    })
    return EXIT.ok
  },
})

export const relayCommand = defineCommand({
  name: 'relay',
  summary: 'pass a guest’s memory on to the other host (xl migrate runs this)',
  details:
    'What blkferry gives to xl migrate -s. Knows the messages of xl that decide which host has ' +
    'the guest, and lets each pass only when the disks agree.',
  positionals: [
    { name: 'HOST', help: 'the other host; xl adds it' },
    { name: 'WORD', help: 'what to run there; xl adds it', isRepeated: true },
  ],
  options: { session },
  examples: ['blkferry relay --session 7f3a host2 xl migrate-receive'],
  run: async (values, _context, words) =>
    await withDaemon(async client => {
      const { runSourceRelay } = await import('../daemon/relay.ts')
      const code = await runSourceRelay(client, values.session, words)
      return code === 0 ? EXIT.ok : EXIT.failed
    }),
})

export const relayReceiveCommand = defineCommand({
  name: 'relay-receive',
  summary: 'receive a guest’s memory (blkferry runs this through ssh)',
  positionals: [{ name: 'WORD', help: 'what starts xl here', isRepeated: true }],
  options: { session },
  examples: ['blkferry relay-receive --session 7f3a xl migrate-receive'],
  run: async (values, _context, words) =>
    await withDaemon(async client => {
      const { runDestinationRelay } = await import('../daemon/relay.ts')
      const code = await runDestinationRelay(client, values.session, words)
      return code === 0 ? EXIT.ok : EXIT.failed
    }),
})
