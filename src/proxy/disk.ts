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
import { type EngineChoice, type OpenedEngine, openEngine } from '../io/open-engine.ts'
import { MirrorFilter } from '../mirror/mirror-filter.ts'
import type { OpenDisk, OpenedDisk } from './calls.ts'

const KIB = 1024
/**
 * Payloads of clients' requests: about 17 MiB, and large ones that take memory only while they are
 * used. The kernel's nbd client sends up to 1280 KiB at a time.
 */
const SLOT_CLASSES = [
  { payload: 4 * KIB, count: 256 },
  { payload: 256 * KIB, count: 64 },
  { payload: 2 * KIB * KIB, count: 8 },
  { payload: 32 * KIB * KIB, count: 2 },
] as const

/** What every disk stands on, and takes longest to make. */
export interface Footing extends OpenedEngine {
  readonly arena: Arena
}

export function openFooting(engine: EngineChoice): Footing {
  return { ...openEngine(engine), arena: new Arena(SLOT_CLASSES) }
}

export async function closeFooting({ engine, arena }: Footing): Promise<void> {
  arena.close()
  await engine.close()
}

export class Disk {
  readonly engine: Engine
  readonly arena: Arena
  readonly gate: Gate
  readonly mirror: MirrorFilter
  /** The top of the chain. */
  readonly device: BlockDevice
  readonly description: Omit<OpenedDisk, 'dirtyBytes'>

  private constructor({ engine, why, arena }: Footing, file: FileDevice) {
    let mirror!: MirrorFilter
    let gate!: Gate
    this.engine = engine
    this.arena = arena
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
      engineReason: why,
      isDirect: file.isDirect,
    }
  }

  /**
   * Opens the disk and everything it needs; throws a sentence when it cannot. Owns `footing`, which
   * another disk may have stood on that was closed.
   */
  static async open(options: OpenDisk, footing = openFooting(options.engine)): Promise<Disk> {
    try {
      const { path, readOnly, held, direct } = options
      const file = await openFile(path, footing.engine, { readOnly, held, direct })
      return new Disk(footing, file)
    } catch (error) {
      await closeFooting(footing)
      throw error
    }
  }

  /** Closes the disk alone; its footing is the caller's again. */
  async closeDevice(): Promise<Footing> {
    await this.device.close()
    const { engine, arena, description } = this
    return { engine, why: description.engineReason, arena }
  }

  async close(): Promise<void> {
    await closeFooting(await this.closeDevice())
  }
}
