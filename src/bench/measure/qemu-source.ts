/**
 * qemu-storage-daemon as the source of a mirror: it serves the disk over NBD and runs QEMU's own
 * blockdev-mirror beside that, as a QEMU with a guest would.
 */
import { performance } from 'node:perf_hooks'
import type { MirrorSource, MirrorTarget } from './mirror-source.ts'
import { Qmp } from './qmp.ts'
import { type TlsKey, uriOf } from './servers.ts'
import { Service } from './service.ts'

const CONNECTIONS_MAX = 16
const COMPLETE_MS_MAX = 60_000
const ENDS = ['BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR'] as const

interface BlockJob {
  readonly device: string
  readonly len: number
  readonly offset: number
}

export interface QemuOptions {
  readonly path: string
  /** More disks in the same process, for whoever mirrors several at once. */
  readonly paths?: readonly string[]
  readonly socket: string
  readonly copyMode: 'background' | 'write-blocking'
}

export class QemuSource implements MirrorSource {
  readonly #service: Service
  readonly #qmp: Qmp
  readonly #copyMode: QemuOptions['copyMode']
  #jobs = 0
  /** Its mirrors under way by disk: names are never used twice, so that no old event is taken. */
  readonly #jobOf = new Map<number, string>()

  private constructor(service: Service, qmp: Qmp, copyMode: QemuOptions['copyMode']) {
    this.#service = service
    this.#qmp = qmp
    this.#copyMode = copyMode
  }

  static async serve({ path, paths = [], socket, copyMode }: QemuOptions): Promise<QemuSource> {
    const disks = [path, ...paths].flatMap((file, disk) => [
      '--blockdev',
      `driver=file,node-name=file${disk},filename=${file},aio=io_uring`,
      ...['--blockdev', `driver=raw,node-name=source${disk},file=file${disk}`],
    ])
    const argv = [
      'qemu-storage-daemon',
      ...['--chardev', `socket,path=${socket}.qmp,server=on,wait=off,id=monitor`],
      ...['--monitor', 'monitor'],
      ...disks,
      '--nbd-server',
      `addr.type=unix,addr.path=${socket}.nbd,max-connections=${CONNECTIONS_MAX}`,
      ...['--export', 'type=nbd,id=export,node-name=source0,name=,writable=on'],
    ]
    const service = await Service.start(argv, `${socket}.nbd`)
    try {
      return new QemuSource(service, await Qmp.connect(`${socket}.qmp`), copyMode)
    } catch (error) {
      await service.killed()
      throw error
    }
  }

  get uri(): string {
    return uriOf(this.#service.socket)
  }

  get pid(): number {
    return this.#service.pid
  }

  async start({ socket, tls }: MirrorTarget, disk = 0): Promise<void> {
    this.#jobs += 1
    const job = `mirror${this.#jobs}`
    const target = `target${this.#jobs}`
    this.#jobOf.set(disk, job)
    if (tls !== undefined) await this.#addKey(tls, `key${this.#jobs}`)
    await this.#qmp.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': target,
      server: { type: 'unix', path: socket },
      export: '',
      ...(tls !== undefined && { 'tls-creds': `key${this.#jobs}`, 'tls-hostname': '' }),
    })
    await this.#qmp.execute('blockdev-mirror', {
      'job-id': job,
      device: `source${disk}`,
      target,
      sync: 'full',
      'copy-mode': this.#copyMode,
    })
  }

  async ready(timeoutMs: number, disk = 0): Promise<void> {
    const names = ['BLOCK_JOB_READY', ...ENDS]
    const { event } = await this.#qmp.event(names, this.#job(disk), timeoutMs)
    if (event !== 'BLOCK_JOB_READY') throw new Error(`the mirror ended early with ${event}`)
  }

  /** What the job still has to copy; 0 if it is gone. */
  async dirtyBytes(disk = 0): Promise<number> {
    const jobs = (await this.#qmp.execute('query-block-jobs')) as readonly BlockJob[]
    const job = jobs.find(({ device }) => device === this.#job(disk))
    return job === undefined ? 0 : job.len - job.offset
  }

  /**
   * Of a mirror that is ready, QEMU's word "cancel" is a completion: it ends with both disks equal
   * and the source stays in use.
   */
  async complete(disk = 0): Promise<number> {
    const job = this.#job(disk)
    const startedAt = performance.timeOrigin + performance.now()
    await this.#qmp.execute('block-job-cancel', { device: job })
    const { event, atMs } = await this.#qmp.event(ENDS, job, COMPLETE_MS_MAX)
    if (event !== 'BLOCK_JOB_COMPLETED') throw new Error(`the mirror ended with ${event}`)
    await this.#qmp.execute('blockdev-del', { 'node-name': job.replace('mirror', 'target') })
    return Math.max(0, atMs - startedAt)
  }

  /** Resolves when the job has ended by itself, as it does when its target is lost. */
  async lost(timeoutMs: number): Promise<void> {
    await this.#qmp.event(ENDS, this.#job(0), timeoutMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#qmp[Symbol.dispose]()
    await this.#service[Symbol.asyncDispose]()
  }

  #job(disk: number): string {
    const job = this.#jobOf.get(disk)
    if (job === undefined) throw new Error('there is no mirror: start it first')
    return job
  }

  async #addKey({ folder, identity }: TlsKey, id: string): Promise<void> {
    await this.#qmp.execute('object-add', {
      'qom-type': 'tls-creds-psk',
      id,
      endpoint: 'client',
      dir: folder,
      username: identity,
    })
  }
}
