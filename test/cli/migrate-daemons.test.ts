/** `blkferry migrate` as a process, between two daemons with a stub of xl. */
import { spawn } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { TwoHosts } from '../daemon/two-hosts.ts'

function migrate(hosts: TwoHosts, ...words: string[]) {
  const env = { ...process.env, ...hosts.source.environment }
  const all = [BLKFERRY, 'migrate', ...words, 'web1', 'b']
  const command = spawn(process.execPath, all, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const caught = { stdout: '', stderr: '' }
  const copying = new Promise<void>(resolve => {
    command.stdout.on('data', chunk => {
      caught.stdout += chunk
      if (caught.stdout.includes('web1: copying')) resolve()
    })
  })
  command.stderr.on('data', chunk => {
    caught.stderr += chunk
  })
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve => {
    command.on('close', code => resolve({ code, ...caught }))
  })
  return { command, copying, ended }
}

async function soleSession(hosts: TwoHosts): Promise<string> {
  const { sessions } = await hosts
    .client(hosts.source)
    .call('session-list', {}, { timeoutMs: 10_000 })
  expect(sessions).toHaveLength(1)
  return sessions[0]!.session
}

const BACK = { source: 'source-owns', domains: ['web1 running', ''] }

describe('blkferry migrate between two daemons', () => {
  test('moves the guest and sums up', async () => {
    await using hosts = await TwoHosts.start()
    const { code, stdout, stderr } = await migrate(hosts).ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^web1 runs on b, after/m)
    expect(stdout).toMatch(/^downtime: .*, of it .* for the disks$/m)
    expect(await hosts.outcome(await soleSession(hosts))).toMatchObject({
      source: 'destination-owns',
      domains: ['', 'web1 running'],
    })
  })

  test('of a guest that crashes at the last moment says where to start it', async () => {
    await using hosts = await TwoHosts.start()
    hosts.destination.setFault('crash-at-go')
    const { code, stderr } = await migrate(hosts).ended
    const what = 'b owns the disks of web1, which does not run there'
    expect({ code, stderr }).toEqual({
      code: 10,
      stderr: `blkferry: ${what}: start it on b with xl create\n`,
    })
  })

  test('interrupted while it copies leaves the guest where it was', async () => {
    await using hosts = await TwoHosts.start()
    const { command, copying, ended } = migrate(hosts, '--bandwidth', '256K')
    await copying
    command.kill('SIGINT')
    const { code, stderr } = await ended
    expect(code).toBe(5)
    expect(stderr).toMatch(/^blkferry: the migration was cancelled; web1 goes on here\n$/)
    expect(await hosts.outcome(await soleSession(hosts))).toMatchObject(BACK)
  })

  test('killed while it copies takes its session with it', async () => {
    await using hosts = await TwoHosts.start()
    const { command, copying, ended } = migrate(hosts, '--bandwidth', '256K')
    await copying
    command.kill('SIGKILL')
    await ended
    expect(await hosts.outcome(await soleSession(hosts))).toMatchObject(BACK)
  })
})
