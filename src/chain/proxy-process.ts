/**
 * One proxy: a process of our own that serves the fence device. It outlives us if we crash, since a
 * guest's disk hangs on it; it is found again by its record.
 */
import type { ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setPriority } from 'node:os'
import { dirname } from 'node:path'
import { rehearsalFolder } from '../control/socket-path.ts'
import { spawnIoProcess } from '../host/io-process.ts'
import { type NbdSocket, openNbdSocket } from '../host/nbd-socket.ts'
import { DiskPathError } from './disk-path.ts'
import { nextChange } from './folder-change.ts'
import type { ChainNames } from './names.ts'
import { pause, settlesWithin } from './pause.ts'

const READY_POLL_MS = 20
/** The file of its socket is looked for that often at least (ms). */
const LOOK_MS_MAX = 1000
/** For an orderly end, after which it is killed (ms). */
const STOP_MS_MAX = 5000
/** For the kernel to end a killed process (ms). */
const KILL_MS_MAX = 10_000
const NICE_STANDBY = 5
/** The end of the log in an error (characters). */
const QUOTED_MAX = 500

export interface ProxyProcessOptions {
  readonly command: readonly [string, ...string[]]
  /** The device that it serves. */
  readonly node: string
  readonly names: ChainNames
  readonly isStandby: boolean
  /** A proxy serves the guest: loading is not to take the processor from it. */
  readonly isNice: boolean
}

export class ProxyProcess {
  readonly #child: ChildProcess
  readonly #names: ChainNames
  /** Whether memory pressure can neither stop nor kill it. */
  readonly isProtected: boolean
  /** Settles when it is ready for `begin`; never, if it ends first. */
  readonly standsBy: Promise<void>
  readonly #turn: Socket | undefined
  /** Settles with how it ended. */
  readonly exited: Promise<string>
  #end: string | undefined

  private constructor(child: ChildProcess, isProtected: boolean, names: ChainNames) {
    this.#child = child
    this.#names = names
    this.isProtected = isProtected
    this.#turn = child.stdio[3] as Socket | undefined
    // A process that has ended does not read; its exit says so.
    this.#turn?.on('error', () => {})
    this.standsBy = new Promise(resolve => {
      this.#turn?.once('data', () => resolve())
    })
    this.exited = new Promise(resolve => {
      const ended = (how: string): void => {
        this.#end ??= how
        this.#clearAway()
        resolve(this.#end)
      }
      child.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`))
      child.once('error', error => ended(error.message))
    })
  }

  /**
   * Starts the process and does not wait for it. One that stands by touches nothing before `begin`,
   * and so may be there beside the one in the path.
   */
  static spawn({ command, node, names, isStandby, isNice }: ProxyProcessOptions): ProxyProcess {
    if (!isStandby) rmSync(names.nbd, { force: true })
    const listen = `nbd+unix:///?socket=${encodeURIComponent(names.nbd)}`
    const words = ['serve', node, '--held', '--listen', listen, '--control', names.control]
    words.push('--bitmap', names.bitmap, ...(isStandby ? ['--standby', '3'] : []))
    const log = openSync(names.log, 'a', 0o600)
    try {
      const { child, isProtected } = spawnIoProcess([...command, ...words], {
        stdio: ['ignore', log, log, ...(isStandby ? (['pipe'] as const) : [])],
        // Neither a Ctrl-C for us nor our own end is one for it.
        detached: true,
      })
      if (isNice) setNice(child.pid, NICE_STANDBY)
      return new ProxyProcess(child, isProtected, names)
    } finally {
      closeSync(log)
    }
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get hasEnded(): boolean {
    return this.#end !== undefined
  }

  /** The end of standing by: the proxy before it must have ended. */
  begin(): void {
    rmSync(this.#names.nbd, { force: true })
    setNice(this.#child.pid, 0)
    this.#turn?.end('begin\n')
  }

  /**
   * Settles when it serves, with a connection to it. Throws DiskPathError `proxy`, also after
   * `timeoutMs`.
   */
  async ready(timeoutMs: number): Promise<NbdSocket> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const left = deadline - performance.now()
      if (this.#end !== undefined) {
        throw new DiskPathError('proxy', `the proxy has ended (${this.#end}): ${this.#lastWords()}`)
      }
      const change = nextChange(dirname(this.#names.nbd), LOOK_MS_MAX)
      if (left > 0 && !existsSync(this.#names.nbd)) {
        await Promise.race([change.settled, this.exited])
        change.forget()
        continue
      }
      change.forget()
      try {
        return await openNbdSocket(this.#names.nbd, Math.max(1, left))
      } catch (error) {
        if (left <= 0) {
          const problem = `the proxy does not answer within ${timeoutMs} ms`
          throw new DiskPathError('proxy', `${problem}: ${this.#lastWords()}`, error)
        }
      }
      await pause(READY_POLL_MS)
    }
  }

  /** In order, its bitmap removed; killed if that takes too long. */
  async stop(): Promise<void> {
    if (this.#end !== undefined) return
    this.#child.kill('SIGTERM')
    await settlesWithin(this.exited, STOP_MS_MAX)
    await this.kill()
  }

  /** Settles when the kernel has ended it. Throws DiskPathError `proxy`. */
  async kill(): Promise<void> {
    if (this.#end !== undefined) return
    this.#child.kill('SIGKILL')
    if (!(await settlesWithin(this.exited, KILL_MS_MAX))) {
      const problem = `process ${this.#child.pid} has not ended ${KILL_MS_MAX} ms after its kill`
      throw new DiskPathError('proxy', `${problem}: look at the disk below it`)
    }
  }

  /** It may have been killed in the middle of a rehearsal. */
  #clearAway(): void {
    if (this.#child.pid === undefined) return
    const folder = rehearsalFolder(this.#names.control, this.#child.pid)
    try {
      rmSync(folder, { recursive: true, force: true })
    } catch {
      // That it has ended must be said all the same; the folder is on a tmpfs.
    }
  }

  #lastWords(): string {
    return readFileSync(this.#names.log, 'utf8').trim().slice(-QUOTED_MAX)
  }
}

/** For the kernel it is a property of a thread, which those that it starts inherit. */
function setNice(pid: number | undefined, nice: number): void {
  if (pid === undefined) return
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), nice)
  } catch {
    // It has ended, which its exit says, or nobody lets us: then it is as nice as we are.
  }
}
