/**
 * What a test needs of the machine. A test that cannot run is skipped by name and with the reason,
 * never passed in silence.
 */
import { accessSync, constants } from 'node:fs'
import { describe } from 'vitest'

function hasCommand(name: string): boolean {
  return `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':').some(folder => {
    try {
      accessSync(`${folder}/${name}`, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Why `need` is not met, or undefined. A need is `root` or the name of a command. */
function lack(need: string): string | undefined {
  if (need === 'root') return process.getuid?.() === 0 ? undefined : 'not root'
  return hasCommand(need) ? undefined : `${need} is not installed`
}

/**
 * `describeWith(['root', 'losetup'], 'a loop device', () => ...)`: runs, or shows as skipped with
 * the reason in its name.
 */
export function describeWith(needs: readonly string[], name: string, body: () => void): void {
  const lacks = needs.map(lack).filter(reason => reason !== undefined)
  if (lacks.length === 0) describe(name, body)
  else describe.skip(`${name} (skipped: ${lacks.join(', ')})`, body)
}
