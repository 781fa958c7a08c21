/** How much is measured: all sizes and times of a run in one place. */

export interface Plan {
  readonly quick: boolean
  /** Of every measurement, interleaved over the subjects. */
  readonly repetitions: number
  /** For those that take long or count rather than time. */
  readonly fewRepetitions: number
  /** One load of fio on a server. */
  readonly loadSeconds: number
  /** Disks that are served, and disks that are mirrored under a guest. */
  readonly serveBytes: number
  readonly mirrorBytes: number
  /** Copied over TLS, which takes peers long. */
  readonly tlsBytes: number
  readonly switchovers: number
  readonly hangSeconds: number
  readonly outageSeconds: number
}

const MIB = 2 ** 20

export const FULL: Plan = {
  quick: false,
  repetitions: 5,
  fewRepetitions: 5,
  loadSeconds: 0.3,
  serveBytes: 512 * MIB,
  mirrorBytes: 768 * MIB,
  tlsBytes: 384 * MIB,
  switchovers: 20,
  hangSeconds: 5,
  outageSeconds: 10,
}

export const QUICK: Plan = {
  quick: true,
  repetitions: 3,
  fewRepetitions: 1,
  loadSeconds: 0.15,
  serveBytes: 128 * MIB,
  mirrorBytes: 256 * MIB,
  tlsBytes: 256 * MIB,
  switchovers: 5,
  hangSeconds: 2,
  outageSeconds: 3,
}
