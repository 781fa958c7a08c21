/**
 * What the numbers depend on beside the code: machine, kernel, versions. Printed with every table.
 */
import { access, constants, readFile } from 'node:fs/promises'
import { cpus, loadavg, release, totalmem } from 'node:os'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { runTool } from './measure/tool.ts'

export interface Environment {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  /** The engine that blkferry chose by itself, as serve reported it; null if it was not started. */
  readonly engine: string | null
  /** Load averages over 1, 5 and 15 minutes before the run. */
  readonly loadAverage: readonly number[]
  /** Name to version; a tool that is not there is not in it. */
  readonly versions: Readonly<Record<string, string>>
}

const TOOLS = {
  fio: ['fio', '--version'],
  nbdkit: ['nbdkit', '--version'],
  'qemu-nbd': ['qemu-nbd', '--version'],
  'qemu-storage-daemon': ['qemu-storage-daemon', '--version'],
  nbdcopy: ['nbdcopy', '--version'],
} as const

export type Tool = keyof typeof TOOLS

export async function readEnvironment(): Promise<Environment> {
  const found = await Promise.all(
    Object.entries(TOOLS).map(async ([name, argv]) => [name, await versionOf(argv)] as const),
  )
  const installed = found.filter(([, version]) => version !== undefined) as [string, string][]
  const own = { blkferry: await ownVersion(), node: process.versions.node }
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    engine: null,
    loadAverage: loadavg(),
    versions: { ...own, ...Object.fromEntries(installed) },
  }
}

/** Why a scenario that needs `tools` cannot run, or undefined. */
export function lacking(
  environment: Environment,
  tools: readonly (Tool | 'root')[],
): string | undefined {
  const missing = tools.filter(tool =>
    tool === 'root' ? process.getuid?.() !== 0 : environment.versions[tool] === undefined,
  )
  if (missing.length === 0) return undefined
  return `left out, for it needs ${missing.join(', ')}`
}

/** The first number with a point in what a tool says about itself. */
async function versionOf(argv: readonly string[]): Promise<string | undefined> {
  const { stdout, stderr } = await runTool(argv).catch(() => ({ stdout: '', stderr: '' }))
  return /\d+(?:\.\d+)+/.exec(`${stdout}${stderr}`)?.[0]
}

async function ownVersion(): Promise<string> {
  const path = fileURLToPath(new URL('../../package.json', import.meta.url))
  const { version } = JSON.parse(await readFile(path, 'utf8')) as { version: string }
  return version
}

export async function isWritable(path: string): Promise<boolean> {
  return await access(path, constants.W_OK).then(
    () => true,
    () => false,
  )
}
