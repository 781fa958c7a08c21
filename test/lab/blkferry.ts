/**
 * Puts the project's present build on a host: what a package would hold, below /opt/blkferry, and
 * then the project's own install script there.
 */
import { existsSync, realpathSync } from 'node:fs'
import { join, relative } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'
import type { Host } from './host.ts'
import { PROJECT } from './layout.ts'

const HOME = '/opt/blkferry'
const INSTALL_MS = 180_000

/** Not needed to run; there is much of it. */
const LEFT_OUT = [
  ...['dist/lab', 'dist/simulation', '*.map', '*.d.ts', '*.tsbuildinfo'],
  ...['*/build/Release/obj*', '*/node_modules/nan', '*.c', '*.cc', '*.h', '*.md'],
].map(pattern => `--exclude=${pattern}`)

/** What changes with a build. */
const BUILT = ['dist', 'scripts', 'package.json', 'src/vendor/nbd-client-ts']

/** A whole installation, on a host that has none. */
export async function install(host: Host): Promise<void> {
  await host.run(`mkdir -p ${HOME}`)
  await host.copy(PROJECT, [...LEFT_OUT, ...BUILT, ...(await productionModules())], HOME)
  if (existsSync(join(PROJECT, 'scripts/install'))) {
    await host.run(`${HOME}/scripts/install`, { timeoutMs: INSTALL_MS })
  } else {
    const link = `ln -sf ${HOME}/dist/cli/main.js /usr/local/bin/blkferry`
    await host.run(`chmod +x ${HOME}/dist/cli/main.js && ${link}`)
  }
}

/** The present build in place of the one that was installed; running processes keep the old one. */
export async function sync(host: Host): Promise<void> {
  await host.run(`rm -rf ${HOME}/dist`)
  await host.copy(PROJECT, [...LEFT_OUT, ...BUILT], HOME)
  await host.run(`chmod +x ${HOME}/dist/cli/main.js`)
}

/** Relative to the project. */
async function productionModules(): Promise<string[]> {
  const words = ['npm', 'ls', '--omit=dev', '--all', '--parseable', '--prefix', PROJECT]
  const { stdout } = await runCommand(words as [string, ...string[]])
  const folder = realpathSync(PROJECT)
  return stdout
    .trim()
    .split('\n')
    .slice(1)
    .map(path => relative(folder, path))
    .filter(path => path.startsWith('node_modules/'))
}
