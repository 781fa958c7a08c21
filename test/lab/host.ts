/**
 * One of the two dom0s: its machine, and a root shell there over ssh. Host `a` has the address
 * 10.9.0.1 and the name xena on the cable between them, `b` 10.9.0.2 and xenb.
 */
import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { CommandError, runCommand } from '../../src/host/run-command.ts'
import { SSH_FAILED, Ssh } from '../../src/host/ssh.ts'
import { until } from './clock.ts'
import { KEY } from './image.ts'
import type { HostName, Instance } from './layout.ts'
import { Machine } from './machine.ts'

export interface RunOptions {
  readonly timeoutMs?: number
  readonly input?: string
}

export interface Attempt {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Emulated hosts are slow, and others may use this machine as well. */
const TIMEOUT_MS = 60_000
const COPY_MS = 120_000

export class Host {
  readonly name: HostName
  readonly machine: Machine
  readonly #instance: Instance
  #ssh: Ssh | undefined
  #connections = 0

  constructor(instance: Instance, name: HostName) {
    this.name = name
    this.machine = new Machine(instance, name)
    this.#instance = instance
  }

  /** Its name for the other one. */
  get address(): string {
    return `xen${this.name}`
  }

  /** Runs a bash script there, returns what it printed. Throws CommandError unless it exits 0. */
  async run(script: string, options: RunOptions = {}): Promise<string> {
    const { stdout } = await this.#connection().run(['bash', '-c', script], {
      timeoutMs: TIMEOUT_MS,
      ...options,
    })
    return stdout
  }

  /** The same for a script that may fail. Throws only when the host itself cannot be reached. */
  async attempt(script: string, options: RunOptions = {}): Promise<Attempt> {
    // What the script printed before it failed would be lost with the error.
    const wrapped = `(\n${script}\n)\necho "exit $?"`
    try {
      const { stdout, stderr } = await this.#connection().run(['bash', '-c', wrapped], {
        timeoutMs: TIMEOUT_MS,
        ...options,
      })
      const at = stdout.lastIndexOf('exit ')
      return { exitCode: Number(stdout.slice(at + 5)), stdout: stdout.slice(0, at), stderr }
    } catch (error) {
      if (error instanceof CommandError && error.exitCode === undefined) throw error
      throw new Error(`host ${this.name} cannot be reached`, { cause: error })
    }
  }

  /** Starts a script for its pipes; the caller ends it. */
  start(script: string): ChildProcessByStdio<Writable, Readable, null> {
    return this.#connection().start(['bash', '-c', script])
  }

  /** The command line that runs one there, or a shell on our terminal without one. */
  argv(command: string): [string, ...string[]] {
    if (command !== '') return this.#connection().argv(['bash', '-c', command])
    const words = this.#connection().argv([])
    return words.slice(0, -1).map(word => (word === '-T' ? '-t' : word)) as [string, ...string[]]
  }

  async write(path: string, text: string): Promise<void> {
    await this.run(`mkdir -p "$(dirname '${path}')"; cat >'${path}'`, { input: text })
  }

  /** Copies files below `folder` here to `to` there, as root's; `options` are tar's. */
  async copy(folder: string, files: readonly string[], to: string): Promise<void> {
    const pack = ['tar', '-C', folder, '-cf', '-', '--owner=0', '--group=0', ...files]
    const unpack = this.#connection().argv(['tar', '-C', to, '-xf', '-'])
    const quoted = (words: readonly string[]): string =>
      words.map(word => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
    const pipe = `${quoted(pack)} | ${quoted(unpack)}`
    await runCommand(['bash', '-o', 'pipefail', '-c', pipe], { timeoutMs: COPY_MS })
  }

  /** Waits until it answers over ssh, and sets its clock, which a saved state leaves behind. */
  async connect(timeoutMs: number): Promise<void> {
    await this.disconnect()
    await until(`answer of host ${this.name}`, timeoutMs, async () => {
      const time = (performance.timeOrigin + performance.now()) / 1000
      await this.run(`date --set=@${time.toFixed(3)} >/dev/null`, { timeoutMs: 30_000 })
      return true
    })
  }

  async disconnect(): Promise<void> {
    await this.#ssh?.close()
    this.#ssh = undefined
  }

  #connection(): Ssh {
    const extra = [
      ...['-F', 'none', '-q', '-i', KEY, '-p', `${this.machine.sshPort}`],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ]
    this.#ssh ??= new Ssh('root@127.0.0.1', {
      controlFolder: this.#instance.sockets,
      // The one before may still be at its end, and would take the first call along.
      controlName: `${this.name}-${process.pid}-${++this.#connections}`,
      connectTimeoutSeconds: 15,
      aliveSeconds: 10,
      extra,
    })
    return this.#ssh
  }
}

/** The host was there, the script was not to its taste. */
export function isScriptFailure(error: unknown): error is CommandError {
  return error instanceof CommandError && error.code === 'exit' && error.exitCode !== SSH_FAILED
}
