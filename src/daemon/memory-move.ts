/**
 * The guest's memory on its way: `xl migrate`, and our relay between it and the other host. The
 * relay's connection to the daemon is its sign of life; when it is gone, xl ends by itself soon, or
 * is killed, and only then may anything be decided.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import type { MigrateStartParams } from './messages.ts'
import type { FoundGuest } from './preflight.ts'
import { endProcess, markOf, type ProcessMark } from './processes.ts'
import type { SessionContext, SessionFolder } from './session-context.ts'
import type { SessionProgress } from './session-progress.ts'
import { oneAtATime } from './turns.ts'
import { XlMigrate } from './xl-migrate.ts'

export interface MemoryMoveOptions {
  readonly context: SessionContext
  readonly session: string
  readonly guest: FoundGuest
  readonly params: MigrateStartParams
  readonly folder: SessionFolder
  readonly progress: SessionProgress
}

const POLL_MS = 500
/** xl resumes its guest when the relay has ended, and ends; then it is killed. */
const XL_GRACE_MS = 30_000
const RELAY_GRACE_MS = 10_000

export class MemoryMove {
  readonly #options: MemoryMoveOptions
  readonly #xl: XlMigrate
  #relay: { readonly mark: ProcessMark | undefined; gone: Promise<void> } | undefined

  constructor(options: MemoryMoveOptions) {
    const { context, session, guest, params, folder, progress } = options
    const { command, toolstack } = context.host
    this.#options = options
    progress.enterMemory('moving')
    this.#xl = new XlMigrate({
      xl: toolstack.xl,
      words: params.xlOptions,
      relay: [...command, 'relay', '--session', session, '--'],
      domid: guest.domid,
      host: params.host,
      environment: params.ssh.environment,
      logFile: folder.file('xl.log'),
    })
  }

  /** Its relay is there, or was. */
  get isAttended(): boolean {
    return this.#relay !== undefined
  }

  /** What must be gone before anything is decided. */
  get processes(): readonly ProcessMark[] {
    return [this.#xl.process, this.#relay?.mark].flatMap(mark => mark ?? [])
  }

  /** Settles when xl has ended; meanwhile `look` is called again and again. */
  async finish(look: () => Promise<void>): Promise<void> {
    const { context, guest, progress } = this.#options
    const { xenstore } = context.host
    const shutdown = `/local/domain/${guest.domid}/control/shutdown`
    // The guest may write there as often as it likes.
    const suspending = oneAtATime(async () => {
      const asked = await xenstore.read(shutdown).catch(() => undefined)
      if (asked === 'suspend') progress.suspend()
    })
    const watch = xenstore.watch(shutdown, suspending)
    let isOver = false
    const exited = this.#xl.exited.then(how => {
      isOver = true
      return how
    })
    while (!isOver) {
      await look()
      await Promise.race([exited, sleep(POLL_MS)])
    }
    await watch.close()
    const how = await exited
    const { said } = this.#xl
    context.log.info({ how, said }, 'xl has ended')
    if (how !== '') progress.fail(`xl migrate has failed (${how}): ${said}`)
  }

  /** A relay is there, until `signal` aborts; settles when `cancelled` does, or then. */
  async attend(pid: number, signal: AbortSignal, cancelled: AbortSignal): Promise<void> {
    if (this.#relay !== undefined) {
      const problem = `session ${this.#options.session} has a relay already`
      throw ControlError.refuse('wrong-state', problem)
    }
    const gone = whenAborted(signal)
    this.#relay = { mark: markOf(pid), gone }
    await Promise.race([gone, whenAborted(cancelled)])
  }

  /** Neither of them can act any more. Throws if one cannot be killed. */
  async end(): Promise<void> {
    if (this.#relay !== undefined) {
      await Promise.race([this.#relay.gone, sleep(RELAY_GRACE_MS)])
      if (this.#relay.mark !== undefined) await endProcess(this.#relay.mark, POLL_MS)
    }
    await this.#xl.end(XL_GRACE_MS)
    const { progress } = this.#options
    if (progress.memory !== 'done') progress.enterMemory('ended')
  }
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
