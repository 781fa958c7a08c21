/** What a session works with, and the small parts that both sides of one share. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { ControlError } from '../control/control-error.ts'
import type { RoleVerb } from '../migration/roles.ts'
import type { Host } from './host.ts'
import type { HostJournal } from './host-journal.ts'
import type { RecordedDisk, SessionRecords } from './session-record.ts'

export interface SessionContext {
  readonly host: Host
  readonly journal: HostJournal
  readonly records: SessionRecords
  readonly log: Logger
}

/** Between two tries to put in order what a session has left (ms). */
export const TIDY_PAUSE_MS = 2000

/** Applies a step to all disks of a session at once. Throws JournalError. */
export function applyToAll(
  { journal }: SessionContext,
  verb: RoleVerb,
  session: string,
  disks: readonly RecordedDisk[],
): void {
  journal.apply(
    verb,
    disks.map(({ disk, epoch }) => ({ disk, session, ...(verb === 'admit' && { epoch }) })),
  )
}

/** Tries again and again until the step says that it is done; each failure is said once. */
export async function untilDone(log: Logger, step: () => Promise<boolean>): Promise<void> {
  let said = ''
  for (;;) {
    try {
      if (await step()) return
    } catch (error) {
      const { message } = error as Error
      if (message !== said) log.error({ err: error }, 'clean-up is not done, tried again')
      said = message
    }
    await sleep(TIDY_PAUSE_MS)
  }
}

/** A folder of a session for what must not outlive the boot: keys, logs. */
export class SessionFolder {
  readonly path: string

  constructor(runFolder: string, session: string) {
    this.path = join(runFolder, 'sessions', session)
    mkdirSync(this.path, { recursive: true, mode: 0o700 })
  }

  file(name: string): string {
    return join(this.path, name)
  }

  /** The session's key for TLS, as `serve` and the mirror read it. */
  writeKey(session: string, key: string): string {
    const path = this.file('key')
    writeFileSync(path, `${session}:${key}\n`, { mode: 0o600 })
    return path
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }

  /** That of a session of an earlier daemon, if there is one. */
  static removeOf(runFolder: string, session: string): void {
    rmSync(join(runFolder, 'sessions', session), { recursive: true, force: true })
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export const refuse = (problem: string, cause?: unknown): ControlError =>
  ControlError.refuse('refused', problem, cause)
