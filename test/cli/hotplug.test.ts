/** The hotplug script as libxl runs it, with a daemon behind it and a stub of xenstore-write. */
import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ControlError } from '../../src/control/control-error.ts'
import { withDaemon } from './daemon-support.ts'

const root = new URL('../..', import.meta.url).pathname
const isBuilt = existsSync(join(root, 'dist/cli/hotplug-main.js'))
const BACKEND = 'backend/vbd/3/51712'
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotplug-'))
  installFrom(root)
  program('xenstore-write', `#!/bin/bash\nprintf '%s\\n' "$@" >>${folder}/xenstore\n`)
  program('logger', '#!/bin/bash\n')
})

afterEach(() => rmSync(folder, { recursive: true }))

/** The script, with its library in that folder. */
function installFrom(library: string): void {
  const script = readFileSync(join(root, 'scripts/block-ferry'), 'utf8')
  const here = script.replace(/^library=.*$/m, `library=${library}`)
  expect(here).not.toBe(script)
  program('block-ferry', here)
}

/** A library that has only the slower way to call. */
function libraryWithoutPerl(): string {
  const library = join(folder, 'library')
  mkdirSync(library)
  symlinkSync(join(root, 'dist'), join(library, 'dist'))
  return library
}

function program(name: string, text: string): void {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), 0o755)
}

interface Ended {
  code: number | null
  stderr: string
}

function hotplug(words: string[], environment: Record<string, string>): Promise<Ended> {
  const env = { PATH: `${folder}:${dirname(process.execPath)}:/usr/bin:/bin`, ...environment }
  const script = spawn(join(folder, 'block-ferry'), words, { env, stdio: ['ignore', 2, 'pipe'] })
  let stderr = ''
  script.stderr!.on('data', chunk => {
    stderr += chunk
  })
  return new Promise(resolve => script.on('close', code => resolve({ code, stderr })))
}

function xenstore(): string[] {
  const file = join(folder, 'xenstore')
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : []
}

const CALLS = [
  ['quick', () => root],
  ['slow', libraryWithoutPerl],
] as const

describe.skipIf(!isBuilt).each(CALLS)('the hotplug script by its %s call', (_call, library) => {
  beforeEach(() => installFrom(library()))

  test('asks the daemon to add and to remove the disk that libxl names', async () => {
    const paths: string[] = []
    const handlers = {
      'hotplug-add': ({ path }: { path: string }) => {
        paths.push(`add ${path}`)
        return { device: '/dev/dm-3' }
      },
      'hotplug-remove': ({ path }: { path: string }) => {
        paths.push(`remove ${path}`)
        return {}
      },
    }
    await withDaemon(handlers, async socket => {
      const environment = { BLKFERRY_SOCKET: socket, XENBUS_PATH: BACKEND }
      for (const action of ['add', 'remove']) {
        expect(await hotplug([action], environment)).toEqual({ code: 0, stderr: '' })
      }
    })
    expect(paths).toEqual([`add ${BACKEND}`, `remove ${BACKEND}`])
    expect(xenstore()).toEqual([])
  })

  test('leaves the reason in xenstore where libxl and people look', async () => {
    const sentence = 'disk web1 is in use by domain 7 as xvda: shut that one down first'
    const refuse = () => {
      throw ControlError.refuse('refused', sentence)
    }
    await withDaemon({ 'hotplug-add': refuse, 'hotplug-remove': refuse }, async socket => {
      const environment = { BLKFERRY_SOCKET: socket, XENBUS_PATH: BACKEND }
      const added = await hotplug(['add'], environment)
      expect(added).toEqual({ code: 1, stderr: `block-ferry add: ${sentence}\n` })
      const nodes = [`${BACKEND}/hotplug-error`, sentence, `${BACKEND}/hotplug-status`, 'error']
      expect(xenstore()).toEqual(nodes)
      // libxl removes the nodes next: writing there would bring one back.
      expect((await hotplug(['remove'], environment)).code).toBe(1)
      expect(xenstore()).toEqual(nodes)
    })
  })

  test('says in one line whatever the daemon says', async () => {
    const sentence = `disk wéb: ${'x'.repeat(400)}`
    const refuse = () => {
      throw ControlError.refuse('refused', `${sentence}\n  more`)
    }
    await withDaemon({ 'hotplug-remove': refuse }, async socket => {
      const environment = { BLKFERRY_SOCKET: socket, XENBUS_PATH: BACKEND }
      const { stderr } = await hotplug(['remove'], environment)
      expect(stderr).toBe(`block-ferry remove: ${sentence} more\n`)
    })
  })
})

describe.skipIf(!isBuilt)('the hotplug script', () => {
  test('asks once more where the daemon dies before it has answered, then fails', async () => {
    let asked = 0
    const server = createServer(socket =>
      socket.once('data', () => {
        asked++
        socket.destroy()
      }),
    )
    const socket = join(folder, 'sock')
    await new Promise<void>(resolve => server.listen(socket, resolve))
    const environment = { BLKFERRY_SOCKET: socket, XENBUS_PATH: BACKEND }
    const { code, stderr } = await hotplug(['add'], environment)
    server.close()
    expect(code).toBe(1)
    expect(asked).toBe(2)
    expect(stderr).toContain('the control connection was closed')
    expect(xenstore()).toContain('error')
  })

  test('starts no Node while a daemon answers', async () => {
    program('node', `#!/bin/bash\ntouch ${folder}/node-ran\n`)
    await withDaemon({ 'hotplug-add': () => ({ device: '/dev/dm-3' }) }, async socket => {
      const environment = { BLKFERRY_SOCKET: socket, XENBUS_PATH: BACKEND }
      expect((await hotplug(['add'], environment)).code).toBe(0)
    })
    expect(existsSync(join(folder, 'node-ran'))).toBe(false)
    await hotplug(['add'], { BLKFERRY_SOCKET: join(folder, 'sock'), XENBUS_PATH: BACKEND })
    expect(existsSync(join(folder, 'node-ran'))).toBe(true)
  })

  test.each([
    [['online'], { XENBUS_PATH: BACKEND }, 'is called with add or remove'],
    [[], { XENBUS_PATH: BACKEND }, 'is called with add or remove'],
    [['add'], {}, 'XENBUS_PATH is not set'],
  ])('refuses to be called as %j with %j', async (words, environment, sentence) => {
    const { code, stderr } = await hotplug(words, environment as Record<string, string>)
    expect(code).toBe(1)
    expect(stderr).toContain(sentence)
  })

  test('says what to do where blkferry is missing', async () => {
    const bare = join(folder, 'bare')
    installFrom(bare)
    const { code, stderr } = await hotplug(['add'], { XENBUS_PATH: BACKEND })
    expect({ code, stderr }).toMatchObject({ code: 1 })
    expect(stderr).toContain(`${bare} has no blkferry: run its scripts/install again`)
  })

  test('loads little, since it runs while a guest stands still', async () => {
    const loaded = await new Promise<string>(resolve => {
      const main = join(root, 'dist/cli/hotplug-main.js')
      const print = 'process.on("exit", () => console.log(process.moduleLoadList.join()))'
      const words = ['--import', `data:text/javascript,${print}`, main, 'add', '']
      const setting = /^export (MSGPACKR_\w+)=(\w+)$/m
      const [, name = '', value] = setting.exec(readFileSync(join(folder, 'block-ferry'), 'utf8'))!
      const env = { [name]: value }
      const child = spawn(process.execPath, words, { env, stdio: ['ignore', 'pipe', 'ignore'] })
      let text = ''
      child.stdout.on('data', chunk => {
        text += chunk
      })
      child.on('close', () => resolve(text))
    })
    expect(loaded).toContain('NativeModule net')
    for (const heavy of ['worker_threads', 'child_process', 'tls', 'http', 'readline']) {
      expect(loaded).not.toMatch(new RegExp(`NativeModule ${heavy}(,|\n)`))
    }
  })
})
