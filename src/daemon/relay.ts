/**
 * Both ends of the relay as programs: streams on one side, questions to this host's daemon on the
 * other. The connection to the daemon is a relay's sign of life. One that loses its daemon gets no
 * answers any more, and every missing answer is a no.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlClient } from '../control/client.ts'
import { ControlError } from '../control/control-error.ts'
import { WAIT_MS_MAX } from '../control/messages.ts'
import { type DestinationQuestion, DestinationRelay } from '../migration/destination-relay.ts'
import { type Answers, runRelay } from '../migration/relay-pump.ts'
import { type SourceQuestion, SourceRelay } from '../migration/source-relay.ts'
import { XlConfigRewriter } from '../migration/xl-config.ts'
import {
  type DaemonVerbs,
  DESTINATION_QUESTIONS,
  RELAY_SAYS,
  SOURCE_QUESTIONS,
} from './messages.ts'

export type DaemonClient = ControlClient<DaemonVerbs>

const ROUTE_MS_MAX = 10_000
/** An answer may have to wait for disks, and for the other host. */
const ANSWER_MS_MAX = 120_000
const PROGRESS_MS = 1000
const CHILD_MS_MAX = 5000

/** This process's own pipes; unlike `process.stdout` they can be closed. */
function ownPipes(): { input: Socket; output: Socket } {
  const input = new Socket({ fd: 0, readable: true, writable: false })
  const output = new Socket({ fd: 1, readable: false, writable: true })
  return { input, output }
}

/**
 * What `xl migrate -s` starts, with `words` of xl's: the host, then what to run there. Settles with
 * an exit code.
 */
export async function runSourceRelay(
  client: DaemonClient,
  session: string,
  words: readonly string[],
): Promise<number> {
  const there = ['relay-receive', '--session', session, '--', ...words.slice(1)]
  const route = { session, words: there }
  const { argv, guest } = await client.call('relay-route', route, { timeoutMs: ROUTE_MS_MAX })
  // Also where nothing changes: a configuration that nobody can read may have any disk.
  const rewriter = new XlConfigRewriter(guest)
  const link = start(argv)
  const { input, output } = ownPipes()
  const answers = answersBy(SOURCE_QUESTIONS, async question => {
    const problem = question === 'take-back' ? rewriter.problem : undefined
    const asked = { session, question, ...(problem !== undefined && { problem }) }
    const { outcome } = await client.call('relay-source', asked, { timeoutMs: ANSWER_MS_MAX })
    return outcome
  }) as Answers<SourceQuestion>
  const { machine, finished } = runRelay<SourceQuestion, SourceRelay>(
    { fromXl: input, toXl: output, fromLink: link.stdout, toLink: link.stdin },
    answers,
    { stopsReadingXl: true },
    relayOutput => new SourceRelay(relayOutput, rewriter),
  )
  const about = { session, side: 'source', pid: process.pid, xlPid: null } as const
  client.call('relay-attend', about, { timeoutMs: WAIT_MS_MAX }).then(
    () => machine.cancel(),
    (error: unknown) => {
      if (isRefusal(error)) machine.cancel()
    },
  )
  const progress = setInterval(() => {
    const sent = { session, sentBytes: input.bytesRead }
    client.call('relay-progress', sent, { timeoutMs: ANSWER_MS_MAX }).catch(() => {})
  }, PROGRESS_MS)
  await finished
  clearInterval(progress)
  await ended(link.child)
  // A link that ends after all is said is no problem.
  if (machine.outcome === 'destination-owns') return 0
  if (machine.problem !== undefined) say(machine.problem)
  return 1
}

/** What runs at the other host; `words` start xl. Settles with an exit code. */
export async function runDestinationRelay(
  client: DaemonClient,
  session: string,
  words: readonly string[],
): Promise<number> {
  const xl = start(words)
  const { input, output } = ownPipes()
  const answers = answersBy(DESTINATION_QUESTIONS, async question => {
    const asked = { session, question }
    await client.call('relay-destination', asked, { timeoutMs: ANSWER_MS_MAX })
  }) as Answers<DestinationQuestion>
  const xlPid = xl.child.pid ?? null
  const about = { session, side: 'destination', pid: process.pid, xlPid } as const
  client.call('relay-attend', about, { timeoutMs: WAIT_MS_MAX }).catch((error: unknown) => {
    if (!isRefusal(error)) return
    say((error as Error).message)
    xl.child.kill('SIGKILL')
  })
  const { machine, finished } = runRelay<DestinationQuestion, DestinationRelay>(
    { fromXl: xl.stdout, toXl: xl.stdin, fromLink: input, toLink: output },
    answers,
    { stopsReadingXl: false },
    relayOutput => new DestinationRelay(relayOutput),
  )
  await finished
  await ended(xl.child)
  if (machine.problem !== undefined) say(machine.problem)
  return machine.hasAccepted ? 0 : 1
}

const isRefusal = (error: unknown): boolean =>
  error instanceof ControlError && error.code === 'refused'

function answersBy<Q extends string>(
  questions: readonly Q[],
  answer: (question: Q) => Promise<unknown>,
): Readonly<Record<string, () => Promise<unknown>>> {
  return Object.fromEntries(questions.map(question => [question, () => answer(question)]))
}

interface Started {
  readonly child: ChildProcess
  readonly stdin: Writable
  readonly stdout: Readable
}

function start(argv: readonly string[]): Started {
  const [program = '', ...words] = argv
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.on('error', error => say(error.message))
  return { child, stdin: child.stdin, stdout: child.stdout }
}

/** It has nothing to say any more; whoever still holds it must not hold us. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
  await Promise.race([gone, sleep(CHILD_MS_MAX)])
}

/** To whoever started us: xl passes it on. */
function say(problem: string): void {
  process.stderr.write(`${RELAY_SAYS}${problem}\n`)
}
