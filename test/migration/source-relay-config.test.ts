/** A relay that changes the configuration on its way, and what becomes of it if it cannot. */
import { expect, test } from 'vitest'
import { REPORT_SUCCESS } from '../../src/migration/relay-machine.ts'
import type { SourceQuestion } from '../../src/migration/source-relay.ts'
import { SourceRelay } from '../../src/migration/source-relay.ts'
import { XlConfigRewriter } from '../../src/migration/xl-config.ts'
import { BANNER, GO, READY } from '../../src/migration/xl-messages.ts'
import { Harness, inPieces, MEMORY, SUCCEEDED, textOf } from './relay-harness.ts'

const EDIT = { vdev: 'xvda', script: 'block-ferry', target: '/dev/vg0/web1' }
const GUEST = { domain: 'web1', disks: [EDIT], readOnly: [] }

/** The header of xl, which says how long `config` is. */
function streamOf(config: string): Buffer {
  const head = Buffer.alloc(52)
  head.write('Xen saved domain, xl format\n \0 \r', 'latin1')
  const words = [0x01020304, 3, 0, config.length + 4, config.length]
  words.forEach((word, index) => {
    head.writeUInt32LE(word, 32 + index * 4)
  })
  return Buffer.concat([head, Buffer.from(config, 'latin1')])
}

function relay() {
  return new Harness<SourceQuestion, SourceRelay>(
    output => new SourceRelay(output, new XlConfigRewriter(GUEST)),
  )
}

test('the configuration changes, memory and messages pass as ever, however they were cut', () => {
  const changed =
    '{"c_info":{"name":"web1"},"disks":[{"vdev":"xvda","pdev_path":"/dev/vg0/web1",' +
    '"backend":"phy","format":"raw","script":"block-ferry"}]}\0'
  for (const size of [1, 2, 3, 50, 1000]) {
    const harness = relay()
    const { machine } = harness
    machine.fromLink(BANNER)
    const config = '{"c_info": {"name": "web1"}, "disks": [{"vdev": "xvda"}]}\0'
    const sent = Buffer.concat([streamOf(config), MEMORY])
    inPieces(sent, size, piece => machine.fromXl(piece))
    machine.fromLink(READY)
    machine.answered('seal')
    inPieces(GO, size, piece => machine.fromXl(piece))
    machine.answered('give-away')
    machine.fromLink(SUCCEEDED)
    machine.answered('confirm')
    expect(harness.said).toEqual({
      events: 'ask seal, ask give-away, ask confirm, end link, end xl, finish',
      xl: textOf(BANNER, READY, REPORT_SUCCESS),
      link: textOf(streamOf(changed), MEMORY, GO),
    })
  }
})

test('one that cannot be changed ends it for the source, with nothing sent and the reason', () => {
  const harness = relay()
  const { machine } = harness
  machine.fromLink(BANNER)
  machine.fromXl(streamOf('{"disks": []}\0'))
  expect(harness.said).toEqual({ events: 'end link, ask take-back', xl: textOf(BANNER), link: '' })
  machine.fromXl(MEMORY)
  machine.fromLink(READY)
  machine.answered('take-back')
  expect(harness.said).toEqual({
    events: 'end link, ask take-back, end xl, finish',
    xl: textOf(BANNER),
    link: '',
  })
  expect([machine.outcome, machine.isGoForwarded]).toEqual(['source-owns', false])
  expect(machine.problem).toContain('has no disk xvda')
})

test('an xl that ends in the middle of its configuration ends it for the source', () => {
  const harness = relay()
  harness.machine.fromLink(BANNER)
  harness.machine.fromXl(streamOf('{"disks": []}\0').subarray(0, 60))
  harness.machine.xlEnded()
  expect(harness.said).toMatchObject({ events: 'end link, ask take-back', link: '' })
})
