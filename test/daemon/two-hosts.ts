/** Two hosts with a daemon each, and one guest that runs at the source. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { connectVerbs } from '../../src/control/channel.ts'
import type { ControlClient } from '../../src/control/client.ts'
import { type RunningDaemon, runDaemon } from '../../src/daemon/daemon.ts'
import type { DaemonVerbs, MigrateStartParams } from '../../src/daemon/messages.ts'
import type { SessionStatus } from '../../src/daemon/session-status.ts'
import { hexadecimal } from '../../src/daemon/vbds.ts'
import { daemonVerbs } from '../../src/daemon/verbs.ts'
import { type Temporary, temporary } from '../support/temporary.ts'
import { StubHost } from './stub-host.ts'
import { Writer } from './writer.ts'

/** The guest's disk, and the one that it may have besides. */
export const DISK = 'web1-root'
export const SECOND_DISK = 'web1-data'
/** A disk that the guest has by the stock script, and its device on either host. */
export const VOLUME = '/dev/vg0/web1'
export const VOLUME_DEVICE = 'vg0-web1'
const SIZE = 4 * 1024 * 1024
const VDEVS = ['xvda', 'xvdb']
/** As libxl numbers xvda, and those behind it. */
const STOCK_SCRIPT = '/etc/xen/scripts/block'
const FIRST_VBD = 51_712
const VBD_STEP = 16
const END_MS_MAX = 60_000
const POLL_MS = 50
export const SOON = { timeoutMs: 20_000 }

export class TwoHosts implements AsyncDisposable {
  readonly folder: Temporary
  readonly source: StubHost
  readonly destination: StubHost
  /** By disk. */
  readonly writers: ReadonlyMap<string, Writer>
  readonly daemons = new Map<StubHost, RunningDaemon>()
  readonly clients = new Map<StubHost, ControlClient<DaemonVerbs>>()

  private constructor(folder: Temporary, disks: readonly string[]) {
    this.folder = folder
    this.source = new StubHost(folder.file('a'), 'a')
    this.destination = new StubHost(folder.file('b'), 'b')
    this.source.connectTo(this.destination)
    this.destination.connectTo(this.source)
    for (const path of disks.flatMap(disk => this.#hosts.map(host => host.diskFile(disk)))) {
      writeFileSync(path, '')
      truncateSync(path, SIZE)
    }
    const writerOf = (disk: string): Writer =>
      new Writer({ kind: 'file', path: this.source.diskFile(disk) }, SIZE)
    this.writers = new Map(disks.map(disk => [disk, writerOf(disk)]))
    this.source.writers = this.writers
  }

  get #hosts(): readonly StubHost[] {
    return [this.source, this.destination]
  }

  /** Of the guest's first disk. */
  get writer(): Writer {
    return this.writers.values().next().value!
  }

  static async start(disks: readonly string[] = [DISK]): Promise<TwoHosts> {
    const hosts = new TwoHosts(await temporary(), disks)
    await hosts.startDaemon(hosts.source)
    await hosts.startDaemon(hosts.destination)
    await hosts.#createGuest()
    return hosts
  }

  async startDaemon(host: StubHost): Promise<void> {
    const { socket, folder } = host
    const log = pino({ level: process.env.DAEMON_LOG ?? 'silent', name: host.name })
    const stateFolder = `${folder}/state`
    this.daemons.set(host, await runDaemon({ socket, stateFolder, host, log }))
    this.clients.set(host, await connectVerbs(socket, daemonVerbs))
  }

  /** Ends it, and starts it again on whatever `meanwhile` has made of its state. */
  async restartDaemon(host: StubHost, meanwhile: () => void = () => {}): Promise<void> {
    this.client(host).close()
    await this.daemons.get(host)?.stop()
    meanwhile()
    await this.startDaemon(host)
  }

  client(host: StubHost): ControlClient<DaemonVerbs> {
    return this.clients.get(host)!
  }

  async #createGuest(): Promise<void> {
    const { source } = this
    const disks = [...this.writers.keys()].map((disk, index) => ({
      vdev: VDEVS[index]!,
      disk,
      ...(disk !== VOLUME && { script: 'block-ferry' }),
    }))
    source.writeDomain({ domid: 1, name: 'web1', state: 'running', disks })
    for (const [index, { vdev, disk, script = STOCK_SCRIPT }] of disks.entries()) {
      const path = `backend/vbd/1/${FIRST_VBD + index * VBD_STEP}`
      const fields = { params: disk, dev: vdev, script, mode: 'w' }
      const nodes = Object.entries(fields).map(([name, value]) => [`${path}/${name}`, value])
      await source.xenstore.write(Object.fromEntries(nodes))
      if (disk === VOLUME) await this.#addVolume(path)
      else await this.client(source).call('hotplug-add', { path }, SOON)
    }
  }

  /** As the stock script does it, without a word to the daemon. */
  async #addVolume(path: string): Promise<void> {
    const [device] = await Promise.all(this.#hosts.map(host => host.addPlainDevice(VOLUME)))
    const [major, minor] = device!.numbers.split(':').map(Number)
    const numbers = hexadecimal({ major: major!, minor: minor! })
    await this.source.xenstore.write({ [`${path}/physical-device`]: numbers })
  }

  async migrate(params: Partial<MigrateStartParams> = {}): Promise<SessionStatus> {
    const all: MigrateStartParams = {
      domain: 'web1',
      host: 'b',
      ssh: { environment: this.source.environment, options: [] },
      copyMode: 'auto',
      bandwidth: 0,
      stallMs: 100,
      reconnectSeconds: 20,
      xlOptions: [],
      isInsecure: false,
      ...params,
    }
    return await this.client(this.source).call('migrate-start', all, SOON)
  }

  status(session: string, host: StubHost = this.source): Promise<SessionStatus> {
    return this.client(host).call('session-status', { session }, SOON)
  }

  async until(
    session: string,
    isEnd: (status: SessionStatus) => boolean,
    host: StubHost = this.source,
  ): Promise<SessionStatus> {
    const end = performance.now() + END_MS_MAX
    for (;;) {
      const status = await this.status(session, host)
      if (isEnd(status)) return status
      if (performance.now() > end) throw new Error(`late: ${JSON.stringify(status)}`)
      await sleep(POLL_MS)
    }
  }

  ended(session: string, host: StubHost = this.source): Promise<SessionStatus> {
    const isEnd = ({ phase }: SessionStatus): boolean =>
      phase === 'completed' || phase === 'failed' || phase === 'cancelled'
    return this.until(session, isEnd, host)
  }

  /** The source's end of it, as it would be by the kernel. */
  killRelay(session: string): void {
    const record = JSON.parse(
      readFileSync(`${this.source.folder}/state/sessions/${session}.json`, 'utf8'),
    ) as { processes: { pid: number }[] }
    process.kill(record.processes[1]!.pid, 'SIGKILL')
  }

  async role(host: StubHost): Promise<string> {
    const { disks } = await this.client(host).call('disk-list', { after: '' }, SOON)
    return disks.map(({ role, session }) => (session === null ? role : `${role}!`)).join()
  }

  /** Both, once neither has an unfinished session: what is left of the guest, and where. */
  async outcome(session: string) {
    const source = await this.ended(session)
    const destination = await this.ended(session, this.destination).catch(() => undefined)
    return {
      source: source.outcome,
      destination: destination?.outcome,
      roles: [await this.role(this.source), await this.role(this.destination)],
      domains: [this.source, this.destination].map(({ domains }) =>
        domains.map(({ name, state }) => `${name} ${state}`).join(),
      ),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const writer of this.writers.values()) await writer.stop()
    for (const client of this.clients.values()) client.close()
    for (const daemon of this.daemons.values()) await daemon.stop()
    for (const path of this.source.paths) await path.stop()
    await this.folder[Symbol.asyncDispose]()
  }
}
