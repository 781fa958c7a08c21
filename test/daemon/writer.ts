/**
 * A guest that writes without pause: block after block gets a number that grows. What was
 * acknowledged has to be there afterwards, wherever the guest is then.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from 'nbd-client-ts'

const BLOCK = 4096
const PAUSE_MS = 2

/** Where a write goes: a file, a proxy, nowhere for now, or into an error. */
export type Path =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'proxy'; readonly uri: string }
  | { readonly kind: 'parked' }
  | { readonly kind: 'error' }

export class Writer {
  readonly #blocks: number
  /** Of each block, the last number that was acknowledged. */
  readonly acknowledged: number[]
  errors = 0
  #path: Path
  #file: FileHandle | undefined
  #client: NbdClient | undefined
  #turn: Promise<void> = Promise.resolve()
  #isStopped = false
  #number = 0
  /** Not running: suspended, or gone. */
  isPaused = false
  readonly #running: Promise<void>

  constructor(path: Path, size: number) {
    this.#path = path
    this.#blocks = size / BLOCK
    this.acknowledged = new Array<number>(this.#blocks).fill(0)
    this.#running = this.#run()
  }

  get writes(): number {
    return this.#number
  }

  /** From the next write on; settles when none is under way on the old path. */
  async switchTo(path: Path): Promise<void> {
    this.#path = { kind: 'parked' }
    await this.#turn
    await this.#close()
    this.#path = path
  }

  async #close(): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
    await this.#client?.disconnect()
    this.#client = undefined
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#path.kind !== 'parked' && !this.isPaused) {
        this.#turn = this.#write(this.#path)
        await this.#turn
      }
      await sleep(PAUSE_MS)
    }
  }

  async #write(path: Path): Promise<void> {
    const number = ++this.#number
    const block = (number * 7919) % this.#blocks
    const bytes = Buffer.alloc(BLOCK)
    bytes.writeUInt32LE(number)
    try {
      if (path.kind === 'file') {
        this.#file ??= await open(path.path, 'r+')
        await this.#file.write(bytes, 0, BLOCK, block * BLOCK)
      } else if (path.kind === 'proxy') {
        this.#client ??= await NbdClient.connect(path.uri)
        await this.#client.write(block * BLOCK, bytes)
      } else {
        throw new Error('no path')
      }
      this.acknowledged[block] = number
    } catch {
      this.errors++
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
    await this.#close()
  }

  /** Blocks whose last acknowledged number is not in the file. */
  async missingIn(path: string): Promise<number[]> {
    await using file = await open(path, 'r')
    const missing: number[] = []
    const bytes = Buffer.alloc(4)
    for (let block = 0; block < this.#blocks; block++) {
      await file.read(bytes, 0, 4, block * BLOCK)
      if (bytes.readUInt32LE() !== this.acknowledged[block]) missing.push(block)
    }
    return missing
  }
}
