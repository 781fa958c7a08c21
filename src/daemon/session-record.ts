/**
 * What is kept of a session so that another daemon can finish it: after a crash of this one, or of
 * the host. The journal has the truth about roles; here is how to reach the other host, which
 * processes were started, and which domain it was. A folder with a file for each session.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { SshAccess } from './messages.ts'
import type { ProcessMark } from './processes.ts'
import type { Side } from './session-status.ts'

export interface SessionRecord {
  readonly session: string
  readonly side: Side
  readonly domain: string
  readonly domid: number | null
  /** At the source, of the guest; records of earlier versions have none. */
  readonly uuid?: string | undefined
  readonly peer: string
  readonly ssh: SshAccess
  readonly disks: readonly RecordedDisk[]
  /** Whatever must be gone before anything is decided: xl, exports. */
  readonly processes: readonly ProcessMark[]
}

export interface RecordedDisk {
  readonly vdev: string
  readonly disk: string
  readonly size: number
  /** At the source, before the session. */
  readonly epoch: number
  /**
   * False: at the source its guest runs on a device of somebody else, by the stock script, and that
   * device is not ours to remove. Left out where it is ours.
   */
  readonly isPrepared?: boolean
  /** What it is called at the destination, if that is something else. */
  readonly target?: string
}

type RecordedGuest = Pick<SessionRecord, 'domain' | 'domid' | 'uuid' | 'disks'>

/** What is kept of a guest of which more is known. */
export function recordedGuest({ domain, domid, uuid, disks }: RecordedGuest): RecordedGuest {
  return { domain, domid, uuid, disks: disks.map(recorded) }
}

/** The same of a disk. */
export function recorded(found: RecordedDisk): RecordedDisk {
  const { vdev, disk, size, epoch, isPrepared, target } = found
  return {
    vdev,
    disk,
    size,
    epoch,
    ...(isPrepared === false && { isPrepared }),
    ...(target !== undefined && { target }),
  }
}

/** As the destination knows it. */
export const targetOf = ({ disk, target = disk }: RecordedDisk): string => target

export class SessionRecords {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  }

  /** On the disk when it returns. */
  write(record: SessionRecord): void {
    const path = this.#path(record.session)
    const fd = openSync(`${path}.new`, 'w', 0o600)
    try {
      writeSync(fd, JSON.stringify(record))
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(`${path}.new`, path)
    const folder = openSync(this.#folder, 'r')
    try {
      fsyncSync(folder)
    } finally {
      closeSync(folder)
    }
  }

  remove(session: string): void {
    rmSync(this.#path(session), { force: true })
  }

  /** A file that cannot be read is left alone, and said in the log. */
  all(log: Logger): SessionRecord[] {
    const names = readdirSync(this.#folder).filter(name => name.endsWith('.json'))
    return names.flatMap(name => {
      try {
        return [JSON.parse(readFileSync(join(this.#folder, name), 'utf8')) as SessionRecord]
      } catch (error) {
        log.error({ err: error, file: join(this.#folder, name) }, 'record of a session is damaged')
        return []
      }
    })
  }

  #path(session: string): string {
    return join(this.#folder, `${session}.json`)
  }
}
