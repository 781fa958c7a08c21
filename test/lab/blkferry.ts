/**
 * Puts the project's present build on a host: what a package would hold, below /opt/blkferry, and
 * then the project's own install script there.
 */
import { realpathSync } from 'node:fs'
import { relative } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'
import type { Host } from './host.ts'
import { PROJECT } from './layout.ts'

/** The unpacked tree, and where its install script puts things. */
const HOME = '/opt/blkferry'
const INSTALLED = '/usr/local/lib/blkferry'
/** Without systemd the daemon is started by its first caller, which had to wait in a scenario. */
const START = '{ blkferry status || { sleep 10; blkferry status; } }'
const INSTALL_MS = 400_000

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
  await host.run(`${HOME}/scripts/install && ${START}`, { timeoutMs: INSTALL_MS })
}

/**
 * The present build in place of the installed one, in less time than an installation takes.
 * The daemon is started again.
 */
export async function sync(host: Host): Promise<void> {
  await host.copy(PROJECT, [...LEFT_OUT, ...BUILT], HOME)
  const script = `set -e
    rm -rf ${INSTALLED}/dist
    cp -R ${HOME}/dist ${INSTALLED}/
    cp -R ${HOME}/src/vendor/nbd-client-ts/dist ${INSTALLED}/node_modules/nbd-client-ts/
    cp ${HOME}/scripts/uninstall ${INSTALLED}/scripts/
    sed 's|^library=.*|library=${INSTALLED}|' ${HOME}/scripts/block-ferry >/tmp/block-ferry
    install -m 755 /tmp/block-ferry /etc/xen/scripts/block-ferry
    install -m 755 ${HOME}/scripts/xl-front-end /usr/local/sbin/xl
    chmod +x ${INSTALLED}/dist/cli/main.js
    ${INSTALLED}/scripts/uninstall --prefix /usr/local --stop-daemon
    ${START}`
  await host.run(script, { timeoutMs: INSTALL_MS })
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
