/**
 * The other host's daemon, asked through `ssh HOST blkferry channel`. The connection is made when
 * something is asked and there is none; a question that was under way when it broke fails, and may
 * be put again.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { Duplex } from 'node:stream'
import { ControlClient } from '../control/client.ts'
import { ControlError } from '../control/control-error.ts'
import type { NameOf } from '../control/verb-table.ts'
import { runCommand } from '../host/run-command.ts'
import { Ssh } from '../host/ssh.ts'
import type { DaemonVerbs, SshAccess } from './messages.ts'
import { Tunnel } from './tunnel.ts'
import { daemonVerbs } from './verbs.ts'

/** What ssh says before it gives up, for the error's sentence (characters). */
const QUOTED_MAX = 500
const RESOLVE_MS_MAX = 15_000

interface Channel {
  readonly child: ChildProcess
  readonly client: ControlClient<DaemonVerbs>
  said: string
  isOver: boolean
}

export class Peer {
  readonly host: string
  readonly #controlFolder: string
  #ssh: Ssh
  #access: SshAccess
  readonly #remote: readonly [string, ...string[]]
  readonly #tunnels: Tunnel[] = []
  #channel: Channel | undefined

  constructor(
    host: string,
    options: {
      readonly ssh: SshAccess
      /** A folder for the shared connection's socket. */
      readonly controlFolder: string
      readonly remoteCommand: readonly [string, ...string[]]
    },
  ) {
    if (!/^[\w.:@%[\]-]+$/.test(host)) {
      throw ControlError.refuse('invalid', `host ${JSON.stringify(host)} is no name of a host`)
    }
    this.host = host
    this.#remote = options.remoteCommand
    this.#controlFolder = options.controlFolder
    this.#access = options.ssh
    this.#ssh = this.#sshBy(options.ssh)
  }

  /** A shared connection of its own: its end is not to be that of another session's. */
  #sshBy({ options }: SshAccess): Ssh {
    const controlName = `ssh-${randomBytes(4).toString('hex')}`
    return new Ssh(this.host, { controlFolder: this.#controlFolder, controlName, extra: options })
  }

  /** How the host is reached from the next connection on: an agent may have gone since. */
  use(access: SshAccess): void {
    this.#access = access
    this.#ssh = this.#sshBy(access)
  }

  /** A command line that runs blkferry there. */
  argv(words: readonly string[]): [string, ...string[]] {
    return this.#ssh.argv([...this.#remote, ...words])
  }

  /** The name or number that ssh connects to. Throws CommandError. */
  async address(): Promise<string> {
    const argv = ['ssh', '-G', ...this.#access.options, '--', this.host] as const
    const { environment } = this.#access
    const { stdout } = await runCommand([...argv], { timeoutMs: RESOLVE_MS_MAX, environment })
    return /^hostname (\S+)$/m.exec(stdout)?.[1] ?? this.host
  }

  /** Rejects with `ControlError`: unreachable if the connection fails, or what was answered. */
  async call<N extends NameOf<DaemonVerbs>>(
    verb: N,
    params: DaemonVerbs[N]['params'],
    options: { readonly timeoutMs: number },
  ): Promise<DaemonVerbs[N]['result']> {
    const channel = this.#open()
    try {
      return await channel.client.call(verb, params, options)
    } catch (error) {
      if (!(error instanceof ControlError)) throw error
      if (error.code === 'refused' || error.code === 'malformed') throw error
      this.#drop(channel)
      const said = channel.said.trim().slice(-QUOTED_MAX)
      const why = said === '' ? error.message : said
      throw ControlError.refuse('unreachable', `${this.host} does not answer: ${why}`, error)
    }
  }

  #open(): Channel {
    if (this.#channel !== undefined && !this.#channel.isOver) return this.#channel
    const [program, ...words] = this.argv(['channel'])
    const child = spawn(program, words, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...this.#access.environment },
    })
    const stream = Duplex.from({ readable: child.stdout, writable: child.stdin })
    const client = new ControlClient<DaemonVerbs>(stream, daemonVerbs)
    const channel: Channel = { child, client, said: '', isOver: false }
    child.stderr.on('data', (chunk: Buffer) => {
      channel.said = (channel.said + chunk.toString()).slice(-2 * QUOTED_MAX)
    })
    const over = (): void => {
      channel.isOver = true
    }
    child.on('error', error => {
      channel.said += error.message
      over()
      client.close()
    })
    child.on('exit', over)
    this.#channel = channel
    return channel
  }

  #drop(channel: Channel): void {
    channel.isOver = true
    channel.client.close()
    channel.child.kill()
  }

  /** Shows a port there as a unix socket here, until this is closed. Rejects with unreachable. */
  async tunnel(socketPath: string, port: number): Promise<void> {
    const argv = this.#ssh.tunnelArgv(socketPath, port)
    const { environment } = this.#access
    this.#tunnels.push(await Tunnel.open({ argv, environment, socketPath }))
  }

  /** Ends the connection, and the one that all calls of ssh share. */
  async close(): Promise<void> {
    await Promise.all(this.#tunnels.splice(0).map(tunnel => tunnel.close()))
    if (this.#channel !== undefined) this.#drop(this.#channel)
    await this.#ssh.close()
  }
}
