// The export whose name is the empty string is an export like any other.

import { expect, test } from 'vitest'
import { ClientHandshake, ServerHandshake } from '../src/codec.ts'

test('information about the export with the empty name is acknowledged', () => {
  const info = {
    size: 4096,
    flags: 1,
    blockSize: { minimum: 1, preferred: 4096, maximum: 33554432 },
  }
  const server = new ServerHandshake({
    exports: new Map([['', info]]),
    defaultExport: '',
    tls: 'off',
  })
  const client = new ClientHandshake({ goal: 'info', exportName: '', tls: 'off' })
  for (let turn = 0; turn < 20 && client.state !== 'ended'; turn++) {
    client.feed(server.takeOutput())
    server.feed(client.takeOutput())
  }
  expect(client.state).toBe('ended')
  expect(client.result?.size).toBe(4096)
})
