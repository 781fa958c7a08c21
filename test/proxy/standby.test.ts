/**
 * A proxy that stands by: what it does before its turn, at it, and when nobody wants it any more.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import type { Socket } from 'node:net'
import { NbdClient } from 'nbd-client-ts'
import { expect, test } from 'vitest'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { makeDisk, socketUri } from '../support/blkferry.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 1024 * 1024

async function standby(folder: Temporary, path: string) {
  const uri = socketUri(folder.file('nbd'))
  const words = ['serve', path, '--listen', uri, '--control', folder.file('control')]
  const child = spawn(process.execPath, [BLKFERRY, ...words, '--standby', '3'], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const turn = child.stdio[3] as Socket
  let said = ''
  child.stderr!.on('data', (text: Buffer) => {
    said += text
  })
  expect(String((await once(turn, 'data'))[0])).toBe('ready\n')
  return { child, turn, uri, ended: once(child, 'exit'), said: () => said }
}

test('until its turn it leaves the disk and its own names to the one before it', async () => {
  await using folder = await temporary()
  const path = await makeDisk(folder.file('disk'), SIZE)
  const first = await standby(folder, path)
  expect(readdirSync(folder.path)).toEqual(['disk'])
  const second = await standby(folder, path)
  first.turn.end('begin\n')
  await once(first.child.stdout!, 'data')
  const client = await NbdClient.connect(first.uri)
  expect((await client.read(0, 4096)).length).toBe(4096)
  await client.disconnect()
  first.child.kill('SIGKILL')
  await first.ended
  second.turn.end('begin\n')
  await once(second.child.stdout!, 'data')
  const next = await NbdClient.connect(second.uri)
  expect(next.size).toBe(SIZE)
  await next.disconnect()
  second.child.kill('SIGTERM')
  expect((await second.ended)[0]).toBe(0)
})

test('before its turn it has served and mirrored once', async () => {
  await using folder = await temporary()
  const { child, said, ended } = await standby(folder, folder.file('disk'))
  expect(said()).toContain('mirror concluded')
  expect(said()).not.toContain('rehearsal failed')
  child.kill('SIGKILL')
  await ended
})

test('it ends, and leaves nothing behind, when whoever kept it ready has gone', async () => {
  await using folder = await temporary()
  const { child, turn, ended } = await standby(folder, folder.file('disk'))
  turn.end()
  expect((await ended)[0]).toBe(1)
  expect(readdirSync(folder.path)).toEqual([])
  expect(child.exitCode).toBe(1)
})
