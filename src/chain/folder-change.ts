/**
 * The next change in a folder, so that nobody has to look for a file again and again: beside a
 * guest there may be only one processor.
 */
import { watch } from 'node:fs'

export interface FolderChange {
  /** Settles with the first change since this was made, or when time is up. */
  readonly settled: Promise<void>
  /** No longer waited for; settles. */
  forget(): void
}

export function nextChange(folder: string, timeoutMs: number): FolderChange {
  let forget = (): void => {}
  const settled = new Promise<void>(resolve => {
    const watcher = watch(folder)
    const timer = setTimeout(() => forget(), timeoutMs)
    forget = () => {
      clearTimeout(timer)
      watcher.close()
      resolve()
    }
    // A watch that breaks is a change as well: whoever waits looks for himself.
    watcher.once('change', forget).once('error', forget)
  })
  return { settled, forget }
}
