/** A source's relay that has come as far as a test wants it. */
import { SourceRelay } from '../../src/migration/source-relay.ts'
import { BANNER, GO, READY, REPORT } from '../../src/migration/xl-messages.ts'
import { Harness, inPieces } from './relay-harness.ts'

export const MEMORY = Buffer.from(
  'any bytes at all, and domain is yours, you are cleared to unpause\0 too',
)
export const FAILED = Uint8Array.from([...REPORT, 3])
export const SUCCEEDED = Uint8Array.from([...REPORT, 0])

export type Stage = 'banner' | 'ready' | 'sealing' | 'go' | 'giving' | 'report' | 'permission'
export const STAGES: readonly Stage[] = [
  'banner',
  'ready',
  'sealing',
  'go',
  'giving',
  'report',
  'permission',
]

/** A relay that has come as far as that. */
export function at(stage: Stage, size = 1000) {
  const harness = new Harness(
    (output: ConstructorParameters<typeof SourceRelay>[0]) => new SourceRelay(output),
  )
  const { machine } = harness
  const link = (bytes: Uint8Array) => inPieces(bytes, size, piece => machine.fromLink(piece))
  const xl = (bytes: Uint8Array) => inPieces(bytes, size, piece => machine.fromXl(piece))
  const steps: Record<Stage, () => void> = {
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
  }
  for (const one of STAGES.slice(0, STAGES.indexOf(stage) + 1)) steps[one]()
  return { harness, machine, link, xl }
}
