/**
 * The TCP ports on which this host's exports listen: any that is free, or those of a range which a
 * firewall lets through, `MIN-MAX` in a file of its own. Read anew for each port, so that a change
 * needs no restart.
 */
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { ControlError } from '../control/control-error.ts'

export const PORTS_FILE = '/etc/blkferry/ports'
const PORT_MAX = 65_535

interface PortRange {
  readonly min: number
  readonly max: number
}

export class ExportPorts {
  readonly #file: string
  /** Of the range, and handed out: who has one may not listen yet. */
  readonly #taken = new Set<number>()

  constructor(file: string = PORTS_FILE) {
    this.#file = file
  }

  /** 0 where there is no range: the kernel's choice. Rejects with `ControlError` refused. */
  async take(): Promise<number> {
    const range = readRange(this.#file)
    if (range === undefined) return 0
    for (let port = range.min; port <= range.max; port++) {
      if (this.#taken.has(port)) continue
      this.#taken.add(port)
      if (await isFree(port)) return port
      this.#taken.delete(port)
    }
    const problem = `no port of ${range.min}-${range.max} is free: widen the range in ${this.#file}`
    throw ControlError.refuse('refused', problem)
  }

  /** Harmless if it was not taken. */
  giveBack(port: number): void {
    this.#taken.delete(port)
  }
}

function readRange(file: string): PortRange | undefined {
  let content: string
  try {
    content = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const lines = content.split('\n').filter(line => !/^\s*(#.*)?$/.test(line))
  const [min = 0, max = 0] = (/^\s*(\d{1,5})\s*-\s*(\d{1,5})\s*$/.exec(lines[0] ?? '') ?? [])
    .slice(1)
    .map(Number)
  if (lines.length === 0) return undefined
  if (lines.length === 1 && min > 0 && min <= max && max <= PORT_MAX) return { min, max }
  const problem = `${file} is no range of ports like 10810-10873: correct it, or remove it`
  throw ControlError.refuse('refused', problem)
}

/** On all addresses, as an export listens. */
function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)))
  })
}
