/** Xenstore's tools and xl, played by small programs that print what the real ones print. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { CommandError } from '../../src/host/run-command.ts'
import {
  unescapeValue,
  xenstoreList,
  xenstoreRead,
  xenstoreTree,
  xenstoreWatch,
  xenstoreWrite,
} from '../../src/host/xenstore.ts'
import {
  destroyDomain,
  domainFlags,
  domainNameOf,
  domidOf,
  findDomain,
  findDomainById,
  listDomains,
  resumeDomain,
  XlError,
} from '../../src/host/xl.ts'
import { stubPrograms } from './stub-programs.ts'

const calls = (folder: string): string[] =>
  readFileSync(`${folder}/calls`, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => line.replace(`${folder}/`, ''))

describe('xenstore', () => {
  test('a value comes back as it was written, whatever is in it', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-read', String.raw`printf '%s\n' 'a\tb\\n\nc \xc3\xa4\001"'`)
    expect(await xenstoreRead('/x')).toBe('a\tb\\n\nc ä\u0001"')
    expect(calls(stubs.path)).toEqual(['xenstore-read|--|/x|'])
  })

  test('a node that is not there is told apart from a tool that failed', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-read', 'exit 1')
    stubs.add('xenstore-list', 'exit 1')
    stubs.add('xenstore-exists', 'exit 1')
    expect(await xenstoreRead('/x')).toBeUndefined()
    expect(await xenstoreList('/x')).toEqual([])
    stubs.add('xenstore-exists', 'exit 0')
    await expect(xenstoreRead('/x')).rejects.toThrow(CommandError)
    await expect(xenstoreList('/x')).rejects.toThrow(CommandError)
    stubs.add('xenstore-read', 'exit 2')
    await expect(xenstoreRead('/x')).rejects.toThrow(CommandError)
  })

  test('several values are one call, which is one transaction; none are none', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-write', '')
    await xenstoreWrite({})
    await xenstoreWrite({ '/a': '1', '/b': String.raw`back\slash and 'quotes'` })
    expect(calls(stubs.path)).toEqual([
      String.raw`xenstore-write|--|/a|1|/b|back\\slash and 'quotes'|`,
    ])
  })

  test('a tree has every node, and values that were cut are read again', async () => {
    await using stubs = await stubPrograms()
    stubs.add(
      'xenstore-ls',
      String.raw`cat <<'END'
/local/domain/0/backend/vbd/1/51712 = ""
/local/domain/0/backend/vbd/1/51712/params = "/dev/vg0/a = \"b"   
/local/domain/0/backend/vbd/1/51712/long = "xxx\..."
/local/domain/0/backend/vbd/1/51712/hidden:
END`,
    )
    stubs.add('xenstore-read', 'echo "the whole of $2"')
    const base = '/local/domain/0/backend/vbd/1/51712'
    expect([...(await xenstoreTree(base))]).toEqual([
      [base, ''],
      [`${base}/params`, '/dev/vg0/a = \\"b'],
      [`${base}/long`, `the whole of ${base}/long`],
    ])
  })

  test('a watch tells every path until it is closed', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-watch', 'echo "$2"; echo "$2/below"; exec sleep 60')
    const seen: string[] = []
    const watch = xenstoreWatch(
      '/local',
      path => seen.push(path),
      () => seen.push('ended'),
    )
    await expect.poll(() => seen).toEqual(['/local', '/local/below'])
    await watch.close()
    expect(seen).toHaveLength(2)
  })

  test('a watch does not outlive whoever watches, however it ends', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-watch', 'echo $$; exec sleep 60')
    const module = JSON.stringify(new URL('../../dist/host/xenstore.js', import.meta.url).href)
    const program = `import(${module}).then(({ xenstoreWatch }) =>
      xenstoreWatch('/x', pid => console.log(pid), () => {}))`
    const watcher = spawn(process.execPath, ['-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [pid] = (await once(watcher.stdout, 'data')) as [Buffer]
    watcher.kill('SIGKILL')
    const file = `/proc/${Number(pid)}/cmdline`
    // Of one that nobody waits for it is empty.
    const isThere = (): boolean => existsSync(file) && readFileSync(file, 'utf8') !== ''
    await expect.poll(isThere).toBe(false)
  })

  test('a watch that ends by itself says so', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-watch', 'exit 3')
    const error = await new Promise<CommandError>(resolve => {
      xenstoreWatch('/x', () => {}, resolve)
    })
    expect(error).toMatchObject({ code: 'exit', exitCode: 3 })
  })

  test('escapes that are none stay as they are', () => {
    expect(unescapeValue(String.raw`\q \x \12 plain`)).toBe(String.raw`\q \x \12 plain`)
  })
})

const LISTED = [
  { domid: 0 },
  {
    domid: 3,
    config: {
      c_info: { name: 'web1', uuid: 'a0b1', type: 'pvh' },
      disks: [
        {
          pdev_path: 'web1-root',
          vdev: 'xvda',
          backend: 'phy',
          format: 'raw',
          script: 'block-ferry',
          removable: 1,
          readwrite: 1,
        },
        { pdev_path: '/dev/vg0/iso', vdev: 'xvdb' },
      ],
    },
  },
  { domid: 12, config: { c_info: { name: '3' } } },
]

describe('xl', () => {
  const list = (value: unknown): string => `cat <<'END'\n${JSON.stringify(value, null, 4)}\nEND`

  test('domains come with what a migration wants to know, dom0 does not come', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xl', list(LISTED))
    expect(await listDomains()).toEqual([
      {
        domid: 3,
        name: 'web1',
        uuid: 'a0b1',
        type: 'pvh',
        disks: [
          {
            vdev: 'xvda',
            path: 'web1-root',
            backend: 'phy',
            script: 'block-ferry',
            isReadOnly: false,
          },
          {
            vdev: 'xvdb',
            path: '/dev/vg0/iso',
            backend: undefined,
            script: undefined,
            isReadOnly: true,
          },
        ],
      },
      { domid: 12, name: '3', uuid: undefined, type: undefined, disks: [] },
    ])
    const listing = `case $1 in list) ${list(LISTED)}\n;; domid) [ $2 = half ] && echo 13;; esac`
    stubs.add('xl', listing)
    expect((await findDomain('web1'))?.domid).toBe(3)
    expect(await findDomain('half')).toMatchObject({ domid: 13, name: 'half', disks: [] })
    expect((await findDomain('3'))?.domid).toBe(12)
    expect((await findDomainById(3))?.name).toBe('web1')
    expect((await findDomainById(12))?.name).toBe('3')
    expect(await findDomain('12')).toBeUndefined()
    expect(await findDomainById(13)).toBeUndefined()
    expect(await findDomain('web')).toBeUndefined()
    await expect(findDomain('-l')).rejects.toThrow('looks like an option')
  })

  test('an answer that is none is an error with a sentence', async () => {
    await using stubs = await stubPrograms()
    const answers = ['not json', '{}', '[{"domid":"x"}]', '[{"domid":1,"config":{"disks":[{}]}}]']
    for (const answer of answers) {
      stubs.add('xl', `echo '${answer}'`)
      await expect(listDomains()).rejects.toThrow(XlError)
    }
  })

  test('numbers and names are looked up', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xl', 'case $1 in domid) echo 3;; domname) echo web1;; *) exit 1;; esac')
    expect(await domidOf('web1')).toBe(3)
    expect(await domainNameOf(3)).toBe('web1')
    stubs.add('xl', 'echo "web9 is an invalid domain identifier" >&2; exit 1')
    await expect(domidOf('web9')).rejects.toMatchObject({ code: 'exit', exitCode: 1 })
  })

  test('a guest that is suspended is told to go on, one that runs is left alone', async () => {
    await using stubs = await stubPrograms()
    const header = 'Name ID Mem VCPUs State Time(s)'
    writeFileSync(stubs.file('state'), '-b----')
    // As xl 4.17 prints it: shut down, and the letter for the reason is the one of suspend.
    const resumed = 'echo -b---- > "$FOLDER/state"; exit 1'
    const row = `echo "${header}"; echo "web1 3 96 1 $(cat "$FOLDER/state") 8.4"`
    stubs.add('xl', `case $1 in list) ${row};; migrate) ${resumed};; esac`)
    stubs.add('xenstore-read', 'echo')
    expect(await domainFlags(3)).toBe('-b----')
    await resumeDomain(3)
    writeFileSync(stubs.file('state'), '---ss-')
    expect(await domainFlags(3)).toBe('---ss-')
    await resumeDomain(3)
    expect(await domainFlags(3)).toBe('-b----')
    const migrations = calls(stubs.path).filter(call => call.startsWith('xl|migrate'))
    expect(migrations).toEqual([expect.stringMatching(/^xl\|migrate\|-s\|\|3\|printf 'xl migr/)])
    stubs.add('xl', `case $1 in list) echo "web1 3 96 1 ---ss- 8.4";; migrate) exit 1;; esac`)
    await expect(resumeDomain(3)).rejects.toThrow('stays suspended: try xl resume 3')
  })

  test('a guest that was just asked to suspend is not asked any more, and goes on', async () => {
    await using stubs = await stubPrograms()
    stubs.add('xenstore-read', 'echo suspend')
    stubs.add('xenstore-write', '')
    // It had seen the request, and suspends at the second look.
    const looks = 'echo >> "$FOLDER/looks"; [ $(wc -l < "$FOLDER/looks") -gt 1 ] && state=---ss-'
    const list = `state=-b----; ${looks}; [ ! -e "$FOLDER/resumed" ] || state=-b----`
    const row = `${list}; echo "web1 3 96 1 $state 8.4"`
    stubs.add('xl', `case $1 in list) ${row};; migrate) touch "$FOLDER/resumed"; exit 1;; esac`)
    await resumeDomain(3)
    expect(calls(stubs.path)).toContain('xenstore-write|--|/local/domain/3/control/shutdown||')
    expect(await domainFlags(3)).toBe('-b----')
  })

  test('destroying a domain that is gone already is no failure', async () => {
    await using stubs = await stubPrograms()
    writeFileSync(stubs.file('list'), JSON.stringify(LISTED))
    stubs.add('xl', 'case $1 in destroy) exit 1;; list) cat "$FOLDER/list";; esac')
    await destroyDomain(99)
    await expect(destroyDomain(3)).rejects.toThrow(CommandError)
  })
})
