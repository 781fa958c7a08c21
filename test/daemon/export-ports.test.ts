/** Which ports exports listen on, and what the doctor says of the way there and of the room. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { DiskExport } from '../../src/daemon/disk-export.ts'
import { memoryFinding, spaceFinding } from '../../src/daemon/doctor-room.ts'
import { ExportPorts } from '../../src/daemon/export-ports.ts'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { makeDisk } from '../support/blkferry.ts'
import { temporary } from '../support/temporary.ts'
import { SOON, TwoHosts } from './two-hosts.ts'

/** A port that is in use until `close`. */
async function usedPort() {
  const server = net.createServer()
  await once(server.listen(0, '0.0.0.0'), 'listening')
  const { port } = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    await once(server.close(), 'close')
  }
  return { port, close }
}

test('a port of the range is handed out once, and not while somebody listens on it', async () => {
  await using folder = await temporary()
  const file = folder.file('ports')
  const { port, close } = await usedPort()
  writeFileSync(file, `# for the firewall\n${port}-${port}\n`)
  const ports = new ExportPorts(file)
  await expect(ports.take()).rejects.toThrow(`no port of ${port}-${port} is free: widen the range`)
  await close()
  expect(await ports.take()).toBe(port)
  await expect(ports.take()).rejects.toThrow('is free')
  ports.giveBack(port)
  expect(await ports.take()).toBe(port)
})

test('without a range the kernel chooses', async () => {
  await using folder = await temporary()
  expect(await new ExportPorts(folder.file('ports')).take()).toBe(0)
  writeFileSync(folder.file('empty'), '# none\n')
  expect(await new ExportPorts(folder.file('empty')).take()).toBe(0)
})

test.each(['5', '10-', '10-9', '0-5', '1-65536', 'a-b', '1-2\n3-4', '1-2 3'])(
  'a file that says %j is refused, with what to do',
  async content => {
    await using folder = await temporary()
    writeFileSync(folder.file('ports'), content)
    const taking = new ExportPorts(folder.file('ports')).take()
    await expect(taking).rejects.toThrow('is no range of ports like 10810-10873: correct it')
  },
)

test('exports listen in the range, and the doctor reaches them', async () => {
  await using hosts = await TwoHosts.start()
  const { source, destination } = hosts
  const { port, close } = await usedPort()
  await close()
  writeFileSync(join(destination.folder, 'ports'), `${port}-${port}`)
  const ssh = { environment: source.environment, options: [] }
  const asked = { host: 'b', domain: 'web1', ssh }
  const { here } = await hosts.client(source).call('doctor', asked, SOON)
  const found = `disks can go to 127.0.0.1:${port}`
  expect(here).toContainEqual({ name: 'port', state: 'good', found })
  // A migration may follow at once.
  expect(await destination.exportPorts.take()).toBe(port)
  const { there } = await hosts.client(source).call('doctor', asked, SOON)
  expect(there.find(({ name }) => name === 'port')).toMatchObject({
    state: 'bad',
    found: expect.stringContaining('is free: widen the range'),
  })
  expect(there.length).toBeGreaterThan(5)
})

test('an export that is over before it has a port starts no process', async () => {
  await using folder = await temporary()
  const { port, close } = await usedPort()
  await close()
  writeFileSync(folder.file('ports'), `${port}-${port}`)
  const ports = new ExportPorts(folder.file('ports'))
  let isStarted = false
  const one = new DiskExport({
    command: [process.execPath, BLKFERRY],
    path: await makeDisk(folder.file('disk'), 4096),
    check: () => {},
    name: 'web1',
    keyFile: undefined,
    ports,
    logFile: folder.file('log'),
    log: pino({ level: 'silent' }),
    started: () => {
      isStarted = true
    },
  })
  const refused = expect(one.start()).rejects.toThrow('is not exported any more')
  await one.end()
  await refused
  expect(isStarted).toBe(false)
  expect(await ports.take()).toBe(port)
})

test('a migration goes through the only port of the range', async () => {
  await using hosts = await TwoHosts.start()
  const { port, close } = await usedPort()
  await close()
  writeFileSync(join(hosts.destination.folder, 'ports'), `${port}-${port}`)
  const { session } = await hosts.migrate()
  await hosts.until(session, ({ phase }) => phase !== 'setup')
  await expect(hosts.destination.exportPorts.take()).rejects.toThrow('is free')
  expect(await hosts.ended(session)).toMatchObject({ outcome: 'destination-owns' })
  await hosts.ended(session, hosts.destination)
  expect(await hosts.destination.exportPorts.take()).toBe(port)
}, 60_000)

test('too little memory or space is a warning, since both may be found', () => {
  expect(memoryFinding(512, 512)).toMatchObject({ state: 'good' })
  expect(memoryFinding(512, 511)).toMatchObject({ state: 'warning' })
  expect(spaceFinding('web1', 4096, 4096)).toBeUndefined()
  expect(spaceFinding('web1', 4097, 4096)).toMatchObject({ state: 'warning' })
})
