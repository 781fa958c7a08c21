/** A guest's path over a plain file, with the real proxy: what the chain does, without a kernel. */
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { DiskPath, DiskPathState } from '../../src/chain/disk-path.ts'
import { connectControl } from '../../src/control/channel.ts'
import type { Verb, Verbs } from '../../src/control/messages.ts'
import { ServeProcess } from '../../src/demo/serve-process.ts'
import { socketUri } from '../support/blkferry.ts'
import type { Writer } from './writer.ts'

export class FileDiskPath implements DiskPath {
  readonly device: string
  readonly size: number
  readonly #folder: string
  readonly #writer: () => Writer | undefined
  #state: DiskPathState = 'plain'
  proxy: ServeProcess | undefined
  /** What a test does to a seal: it may take long, or fail. */
  beforeSeal: () => Promise<void> = async () => {}
  /** Whatever else is there that must fail from then on. */
  discarded: () => Promise<void> = async () => {}

  constructor(file: string, folder: string, writer: () => Writer | undefined) {
    this.device = file
    this.size = statSync(file).size
    mkdirSync(folder, { recursive: true })
    this.#folder = folder
    this.#writer = writer
  }

  get state(): DiskPathState {
    return this.#state
  }

  get #control(): string {
    return join(this.#folder, 'proxy.control')
  }

  async start(): Promise<void> {
    const uri = socketUri(join(this.#folder, 'proxy.nbd'))
    const words = ['--log-level', 'warn']
    const control = this.#control
    this.proxy = await ServeProcess.start({ path: this.device, listen: uri, control, words })
    await this.#writer()?.switchTo({ kind: 'proxy', uri })
    this.#state = 'proxied'
  }

  async call<V extends Verb>(
    verb: V,
    params: Verbs[V]['params'],
    options: { readonly timeoutMs: number },
  ): Promise<Verbs[V]['result']> {
    using client = await connectControl(this.#control)
    return await client.call(verb, params, options)
  }

  async seal(): Promise<void> {
    await this.beforeSeal()
    await this.#writer()?.switchTo({ kind: 'parked' })
    this.#state = 'sealed'
  }

  async unseal(): Promise<void> {
    if (this.#state !== 'sealed') return
    await this.#writer()?.switchTo({ kind: 'file', path: this.device })
    this.#state = 'plain'
  }

  async discard(): Promise<void> {
    await this.discarded()
    this.#state = 'discarded'
  }

  async stop(): Promise<void> {
    if (this.#state === 'proxied' || this.#state === 'sealed') {
      await this.#writer()?.switchTo({ kind: 'file', path: this.device })
      this.#state = 'plain'
    }
    await this.proxy?.stop()
    this.proxy = undefined
  }
}
