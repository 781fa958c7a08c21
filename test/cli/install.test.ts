/** The scripts that install blkferry and take it off again, on a system below a folder. */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const tree = new URL('../..', import.meta.url).pathname
const isBuilt = existsSync(join(tree, 'dist/cli/hotplug-main.js'))
const LIBRARY = 'usr/local/lib/blkferry'
let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'install-'))
  mkdirSync(join(root, 'etc/xen/scripts'), { recursive: true })
})

afterEach(() => rmSync(root, { recursive: true }))

function run(script: string, ...words: string[]) {
  const { status, stdout, stderr } = spawnSync(script, ['--root', root, ...words], {
    encoding: 'utf8',
  })
  return { code: status, stdout, stderr }
}

const install = (...words: string[]) => run(join(tree, 'scripts/install'), ...words)
const uninstall = (...words: string[]) => run(join(tree, 'scripts/uninstall'), ...words)

/** All files, but of the library and of Xen only that they are there. */
function files(): string[] {
  const all = readdirSync(root, { recursive: true, withFileTypes: true })
  const paths = all
    .filter(entry => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1))
  return [...new Set(paths.map(path => (path.startsWith(LIBRARY) ? LIBRARY : path)))].sort()
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8')

function write(path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true })
  writeFileSync(join(root, path), text)
}

const INSTALLED = [
  'etc/blkferry/disks',
  'etc/modprobe.d/blkferry.conf',
  'etc/modules-load.d/blkferry.conf',
  'etc/systemd/system/blkferry.service',
  'etc/systemd/system/blkferry.socket',
  'etc/xen/scripts/block-ferry',
  'usr/local/bin/blkferry',
  LIBRARY,
  'usr/local/sbin/xl',
]

describe.skipIf(!isBuilt)('scripts/install (npm run build)', () => {
  test('puts a command there that runs without the tree', () => {
    expect(install()).toMatchObject({ code: 0, stderr: '' })
    expect(files()).toEqual(INSTALLED)
    const library = join(root, LIBRARY)
    const links = readdirSync(library, { recursive: true, withFileTypes: true })
    expect(links.filter(entry => entry.isSymbolicLink())).toEqual([])
    const words = [join(library, 'dist/cli/main.js'), '--version']
    const { stdout } = spawnSync(process.execPath, words, { encoding: 'utf8', cwd: '/' })
    expect(stdout).toMatch(/^blkferry \d/)
    expect(existsSync(join(library, 'node_modules/vitest'))).toBe(false)
    expect(statSync(join(root, 'var/lib/blkferry')).mode & 0o777).toBe(0o700)
  })

  test('writes where it was installed into script, command and unit', () => {
    expect(install('--prefix', '/opt/ferry').code).toBe(0)
    const library = '/opt/ferry/lib/blkferry'
    expect(read('etc/xen/scripts/block-ferry')).toContain(`\nlibrary=${library}\n`)
    expect(read('opt/ferry/bin/blkferry')).toContain(`exec node ${library}/dist/cli/main.js`)
    expect(read('opt/ferry/sbin/xl')).toContain('\nexec /opt/ferry/bin/blkferry migrate')
    const unit = read('etc/systemd/system/blkferry.service')
    expect(unit).toContain('ExecStart=/opt/ferry/bin/blkferry daemon')
    expect(unit).not.toContain('@')
  })

  test('done again changes nothing that the operator wrote', () => {
    install()
    write('etc/blkferry/disks', 'web1 /dev/vg0/web1\n')
    write('var/lib/blkferry/journal', 'roles')
    expect(install().code).toBe(0)
    expect(read('etc/blkferry/disks')).toBe('web1 /dev/vg0/web1\n')
    expect(read('var/lib/blkferry/journal')).toBe('roles')
    expect(files()).toEqual([...INSTALLED, 'var/lib/blkferry/journal'])
  })

  test.each([
    ['etc/xen/scripts/block-ferry', '#!/bin/sh\n', 'is not of blkferry: move it away'],
    ['usr/local/sbin/xl', '#!/bin/sh\nexec /opt/xen/xl "$@"\n', 'is not of blkferry'],
    ['var/lib/blkferry/sessions/7f3a.json', '', 'a migration is under way (7f3a)'],
  ])('touches nothing where %s stands in the way', (path, text, sentence) => {
    write(path, text)
    const { code, stderr } = install()
    expect(code).toBe(1)
    expect(stderr).toContain(sentence)
    expect(files()).toEqual([path])
  })

  test('refuses a host without Xen and a wrong command line', () => {
    expect(install('--perfix', '/x').stderr).toContain('unknown word --perfix')
    expect(install('--prefix', 'x').stderr).toContain('--prefix needs an absolute path')
    rmSync(join(root, 'etc'), { recursive: true })
    expect(install().stderr).toContain('install Xen')
    expect(files()).toEqual([])
  })

  test('refuses a tree that is not whole, and leaves no half of it', () => {
    const half = join(root, 'half')
    cpSync(join(tree, 'scripts'), join(half, 'scripts'), { recursive: true })
    cpSync(join(tree, 'dist/cli'), join(half, 'dist/cli'), { recursive: true })
    cpSync(join(tree, 'package.json'), join(half, 'package.json'))
    mkdirSync(join(half, 'node_modules'))
    symlinkSync(join(tree, 'node_modules/pino'), join(half, 'node_modules/pino'))
    const { code, stderr } = run(join(half, 'scripts/install'))
    expect(code).toBe(1)
    expect(stderr).toContain('a module does not load')
    rmSync(half, { recursive: true })
    expect(files()).toEqual([])
  })
})

describe.skipIf(!isBuilt)('scripts/uninstall (npm run build)', () => {
  test('leaves nothing where nothing was moved, and what is not its own alone', () => {
    install()
    expect(uninstall()).toMatchObject({ code: 0, stdout: 'blkferry is gone\n' })
    expect(files()).toEqual([])
    expect(existsSync(join(root, 'var/lib/blkferry'))).toBe(false)
    write('usr/local/sbin/xl', '#!/bin/sh\n# not ours\n')
    expect(uninstall().code).toBe(0)
    expect(files()).toEqual(['usr/local/sbin/xl'])
  })

  test('keeps the journal and whatever the operator wrote, and says so', () => {
    install()
    write('etc/blkferry/disks', '# ours\nweb1 /dev/vg0/web1\n')
    write('etc/blkferry/ports', '10810-10873\n')
    write('var/lib/blkferry/journal', 'roles')
    const { stdout } = run(join(root, LIBRARY, 'scripts/uninstall'), '--prefix', '/usr/local')
    expect(stdout.match(/^kept: .*(etc|lib)\/blkferry,/gm)).toHaveLength(2)
    const kept = ['etc/blkferry/disks', 'etc/blkferry/ports', 'var/lib/blkferry/journal']
    expect(files()).toEqual(kept)
    install()
    expect(read('etc/blkferry/disks')).toContain('web1 /dev/vg0/web1')
    expect(read('etc/blkferry/ports')).toBe('10810-10873\n')
    expect(files()).toEqual([...new Set([...INSTALLED, ...kept])].sort())
  })

  test('keeps the range of ports also beside a table without lines', () => {
    install()
    write('etc/blkferry/ports', '10810-10873\n')
    expect(uninstall().code).toBe(0)
    expect(files()).toEqual(['etc/blkferry/ports'])
  })

  test('refuses while volumes that moved away have not been released, and names them', () => {
    install()
    const table = [{ type: 'linear', start: 0, length: 8, device: '8:1', offset: 0 }]
    for (const name of ['web1', 'web2']) {
      const record = { disk: `/dev/vg0/${name}`, device: `vg0-${name}`, table }
      write(`run/blkferry/plain/${name}.json`, JSON.stringify(record))
    }
    const { code, stderr } = uninstall()
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^ *blkferry release \/dev\/vg0\/web1\n *blkferry release \/dev\/vg0\/web2$/m,
    )
    expect(read('run/blkferry/plain/web1.json')).toContain('8:1')
    expect(existsSync(join(root, LIBRARY))).toBe(true)
    rmSync(join(root, 'run/blkferry/plain'), { recursive: true })
    expect(uninstall().code).toBe(0)
  })

  test('refuses while a guest has a disk through it, or a migration is under way', () => {
    install()
    write('sys/block/dm-3/dm/uuid', 'LVM-abc\n')
    write('sys/block/dm-4/dm/uuid', 'BLKFERRY-guest-0123456789ab\n')
    write('sys/block/dm-4/dm/name', 'blkferry-web1-0123456789ab\n')
    const refused = uninstall()
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain('a guest has its disk through blkferry-web1-0123456789ab')
    rmSync(join(root, 'sys'), { recursive: true })
    write('var/lib/blkferry/sessions/7f3a.json', '')
    expect(uninstall().stderr).toContain('a migration is under way (7f3a)')
    expect(existsSync(join(root, LIBRARY))).toBe(true)
  })
})
