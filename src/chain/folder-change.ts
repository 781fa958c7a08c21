/**
 * The next change in a folder, so that nobody has to look for a file again and again: beside a
 * guest there may be only one processor.
 */
import { type FSWatcher, watch } from 'node:fs'

export interface FolderChange {
  /** Settles with the first change since this was made, or when time is up. */
  readonly settled: Promise<void>
  /** No longer waited for; settles. */
  forget(): void
}

/** Without a watch, of which a host has so many only, somebody does look again and again (ms). */
const UNWATCHED_MS = 50

export function nextChange(folder: string, timeoutMs: number): FolderChange {
  let forget = (): void => {}
  const settled = new Promise<void>(resolve => {
    const watcher = watchOf(folder)
    const waitMs = watcher === undefined ? Math.min(UNWATCHED_MS, timeoutMs) : timeoutMs
    const timer = setTimeout(() => forget(), waitMs)
    forget = () => {
      clearTimeout(timer)
      watcher?.close()
      resolve()
    }
    // A watch that breaks is a change as well: whoever waits looks for himself.
    watcher?.once('change', forget).once('error', forget)
  })
  return { settled, forget }
}

function watchOf(folder: string): FSWatcher | undefined {
  try {
    return watch(folder)
  } catch {
    return undefined
  }
}
