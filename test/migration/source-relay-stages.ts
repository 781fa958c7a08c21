/** A source's relay that has come as far as a test wants it. */
import { SourceRelay } from '../../src/migration/source-relay.ts'
import { BANNER, GO, READY } from '../../src/migration/xl-messages.ts'
import { FAILED, MEMORY, relayAt } from './relay-harness.ts'

export const STAGES = [
  'banner',
  'ready',
  'sealing',
  'go',
  'giving',
  'report',
  'permission',
] as const
export type Stage = (typeof STAGES)[number]

/** A relay that has come as far as that. */
export function at(stage: Stage, size = 1000) {
  return relayAt(
    stage,
    size,
    (output: ConstructorParameters<typeof SourceRelay>[0]) => new SourceRelay(output),
    ({ machine, link, xl }) => ({
      banner: () => {},
      ready: () => {
        link(BANNER)
        xl(MEMORY)
      },
      sealing: () => link(READY),
      go: () => machine.answered('seal'),
      giving: () => xl(GO),
      report: () => machine.answered('give-away'),
      permission: () => link(FAILED),
    }),
  )
}
