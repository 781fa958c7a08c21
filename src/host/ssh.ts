/**
 * The other host through the system's ssh, with the operator's own keys, names and configuration.
 * All calls share one connection, made by the first: a new one takes long. Nobody is asked for a
 * password, and a host that has vanished is noticed in seconds. Words reach the other side as they
 * are, whatever is in them: they are quoted for its shell.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { CommandError, type CommandOptions, type CommandOutput, runCommand } from './run-command.ts'

export interface SshOptions {
  /** A folder for the shared connection's socket; short, since socket paths have 108 bytes. */
  readonly controlFolder: string
  /** Who shares it: all of one name, or with none given all that go to the same host. */
  readonly controlName?: string
  readonly connectTimeoutSeconds?: number
  /** Between two signs of life; three missing ones end the connection. */
  readonly aliveSeconds?: number
  /** Options of the operator's, as `-p 2222`. */
  readonly extra?: readonly string[]
}

/** ssh's own exit code: the connection failed, not the command. */
export const SSH_FAILED = 255
/** For how long the shared connection stays without use (s). */
const PERSIST_SECONDS = 60
/** Bytes of a socket's path, of which ssh needs about 60 for its name and a suffix. */
const CONTROL_FOLDER_MAX = 45

export class Ssh {
  readonly host: string
  readonly #options: SshOptions

  /** Throws RangeError for a host that ssh would take for an option. */
  constructor(host: string, options: SshOptions) {
    if (host === '' || host.startsWith('-')) {
      throw new RangeError(`host ${JSON.stringify(host)} is no name of a host; check it`)
    }
    if (Buffer.byteLength(options.controlFolder) > CONTROL_FOLDER_MAX) {
      const limit = `over ${CONTROL_FOLDER_MAX} bytes`
      throw new RangeError(`${options.controlFolder} is ${limit}, too long for ssh's socket`)
    }
    this.host = host
    this.#options = options
  }

  get #controlPath(): string {
    return `${this.#options.controlFolder}/${this.#options.controlName ?? '%C'}`
  }

  /** The whole command line for a remote one. */
  argv(words: readonly string[]): [string, ...string[]] {
    const { connectTimeoutSeconds = 10, aliveSeconds = 5, extra = [] } = this.#options
    const options = [
      'BatchMode=yes',
      `ConnectTimeout=${connectTimeoutSeconds}`,
      `ServerAliveInterval=${aliveSeconds}`,
      'ServerAliveCountMax=3',
      'ControlMaster=auto',
      `ControlPath=${this.#controlPath}`,
      `ControlPersist=${PERSIST_SECONDS}`,
    ]
    const flags = options.flatMap(option => ['-o', option])
    return ['ssh', '-T', ...flags, ...extra, '--', this.host, words.map(shellWord).join(' ')]
  }

  /**
   * The whole command line for a connection of its own that shows a port of the other host as a
   * unix socket here, as long as its stdin is open.
   */
  tunnelArgv(socketPath: string, port: number): [string, ...string[]] {
    const [ssh, ...words] = this.argv(['cat'])
    const own = ['ControlMaster=no', 'ControlPath=none', 'ExitOnForwardFailure=yes']
    const socket = ['StreamLocalBindUnlink=yes', 'StreamLocalBindMask=0177']
    // The first one given counts.
    const options = [...own, ...socket].flatMap(option => ['-o', option])
    return [ssh, ...options, '-L', `${socketPath}:127.0.0.1:${port}`, ...words]
  }

  /**
   * Runs a command there. Throws CommandError; with exit code 255 it is most likely the connection
   * that failed.
   */
  run(words: readonly string[], options: CommandOptions = {}): Promise<CommandOutput> {
    return runCommand(this.argv(words), options)
  }

  /** Starts a command there, for its pipes; stderr is ours. The caller waits for its exit. */
  start(words: readonly string[]): ChildProcessByStdio<Writable, Readable, null> {
    const [program, ...rest] = this.argv(words)
    // In a group of its own: a Ctrl-C is for us to understand.
    return spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
  }

  /** Ends the shared connection; harmless if there is none. */
  async close(): Promise<void> {
    const control = ['-o', `ControlPath=${this.#controlPath}`, '-O', 'exit']
    const { extra = [] } = this.#options
    try {
      await runCommand(['ssh', ...control, ...extra, '--', this.host], { timeoutMs: 5000 })
    } catch (error) {
      if (!(error instanceof CommandError) || error.code !== 'exit') throw error
    }
  }
}

/** One word for a POSIX shell. Throws RangeError for a NUL, which no shell can take. */
export function shellWord(word: string): string {
  if (word.includes('\0')) throw new RangeError('a word for the other host has a NUL')
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
