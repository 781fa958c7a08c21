/**
 * The journal's file on a real file system. Writes go through to the disk before they return, and
 * so do renames, by a sync of the folder. A lock on a file beside it, since the journal itself is
 * replaced, keeps a second process out for as long as this one lives.
 */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { flockSync } from 'fs-ext'
import { Journal, type JournalStorage } from './journal.ts'
import { JournalError } from './journal-error.ts'

const FILE = 'journal'
const NEW_FILE = 'journal.new'
const LOCK_FILE = 'journal.lock'

/** Opens the journal of this host, or begins one. Throws JournalError. */
export function openJournal(folder: string): Journal {
  const storage = new JournalFile(folder)
  try {
    return new Journal(storage)
  } catch (error) {
    storage.close()
    throw error
  }
}

export class JournalFile implements JournalStorage {
  readonly #folder: string
  readonly #lock: number
  #fd: number | undefined

  /** Makes the folder if need be. Throws JournalError `locked`. */
  constructor(folder: string) {
    this.#folder = folder
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.#lock = openSync(join(folder, LOCK_FILE), 'a', 0o600)
    try {
      flockSync(this.#lock, 'exnb')
    } catch (error) {
      closeSync(this.#lock)
      const message = `journal in ${folder} is in use by another process; stop that one first`
      throw new JournalError('locked', message, error)
    }
  }

  read(): Uint8Array | undefined {
    // An unfinished replacement: the old file is the journal still.
    rmSync(join(this.#folder, NEW_FILE), { force: true })
    try {
      this.#fd = openSync(join(this.#folder, FILE), 'r+')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    const bytes = readFileSync(this.#fd)
    // What a killed process wrote may be in memory only, and so may a rename.
    fsyncSync(this.#fd)
    this.#syncFolder()
    return bytes
  }

  write(offset: number, bytes: Uint8Array): void {
    if (this.#fd === undefined) throw new Error('journal has no file')
    writeWhole(this.#fd, bytes, offset)
    fdatasyncSync(this.#fd)
  }

  /** Throws JournalError `full` if the new file does not fit; then the old one is untouched. */
  replace(bytes: Uint8Array): void {
    const path = join(this.#folder, NEW_FILE)
    let fd: number | undefined
    try {
      fd = openSync(path, 'w', 0o600)
      writeWhole(fd, bytes, 0)
      fsyncSync(fd)
    } catch (error) {
      if (fd !== undefined) closeSync(fd)
      rmSync(path, { force: true })
      const { code, message } = error as NodeJS.ErrnoException
      const isFull = code === 'ENOSPC' || code === 'EDQUOT'
      const advice = isFull ? 'free some space' : 'repair its disk'
      const problem = `journal in ${this.#folder} cannot grow (${message}); ${advice}`
      throw new JournalError('full', problem, error)
    }
    closeSync(fd)
    renameSync(path, join(this.#folder, FILE))
    this.#syncFolder()
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = openSync(join(this.#folder, FILE), 'r+')
  }

  #syncFolder(): void {
    const fd = openSync(this.#folder, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    closeSync(this.#lock)
  }
}

function writeWhole(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(fd, bytes, done, bytes.byteLength - done, offset + done)
  }
}
