/**
 * The disk as the data thread holds it: engine, memory, and the chain that a client's request
 * travels.
 *
 *   checked -> gate -> mirror -> file
 */
import { chain } from '../block/chain.ts'
import { checked } from '../block/checked.ts'
import type { BlockDevice } from '../block/device.ts'
import { type FileDevice, openFile } from '../block/file.ts'
import { Gate } from '../block/gate.ts'
import { Arena } from '../io/arena.ts'
import type { Engine } from '../io/engine.ts'
import { openEngine } from '../io/open-engine.ts'
import { MirrorFilter } from '../mirror/mirror-filter.ts'
import type { OpenDisk, OpenedDisk } from './calls.ts'

const KIB = 1024
/**
 * Payloads of clients' requests: about 18 MiB, and large ones that take memory only while they are
 * used. The kernel's nbd client sends up to 1280 KiB at a time.
 */
const SLOT_CLASSES = [
  { payload: 4 * KIB, count: 256 },
  { payload: 256 * KIB, count: 64 },
  { payload: 2 * KIB * KIB, count: 8 },
  { payload: 32 * KIB * KIB, count: 2 },
] as const

export class Disk {
  readonly engine: Engine
  readonly arena: Arena
  readonly gate: Gate
  readonly mirror: MirrorFilter
  /** The top of the chain. */
  readonly device: BlockDevice
  readonly description: Omit<OpenedDisk, 'dirtyBytes'>

  private constructor(engine: Engine, engineReason: string, file: FileDevice) {
    let mirror!: MirrorFilter
    let gate!: Gate
    this.engine = engine
    this.arena = new Arena(SLOT_CLASSES)
    this.device = chain(
      checked,
      next => {
        gate = new Gate(next)
        return gate
      },
      next => {
        mirror = new MirrorFilter(next, engine)
        return mirror
      },
      file,
    )
    this.gate = gate
    this.mirror = mirror
    this.description = {
      info: this.device.info,
      engine: engine.name,
      engineReason,
      isDirect: file.isDirect,
    }
  }

  /** Opens the disk and everything it needs; throws a sentence when it cannot. */
  static async open(options: OpenDisk): Promise<Disk> {
    const { engine, why } = openEngine(options.engine)
    try {
      const { path, readOnly, held, direct } = options
      return new Disk(engine, why, await openFile(path, engine, { readOnly, held, direct }))
    } catch (error) {
      await engine.close()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.device.close()
    this.arena.close()
    await this.engine.close()
  }
}
