/**
 * The uring engine's table of operations: a fixed number of pooled entries, whose index is the tag
 * of the kernel's completion. An entry is free, or queued for submission, or with the kernel;
 * `FlightTable` hands out free ones, its `queue` is the first in first out of what is to be
 * submitted. Nothing is allocated after construction.
 */
import assert from 'node:assert'
import type { Operation } from './engine.ts'
import { IORING_OP, type Ring } from './ring.ts'
import type { UringSocket } from './uring-socket.ts'

export class Flight {
  readonly tag: number
  opcode = 0
  fd = -1
  /** Of the whole operation; what is `done` comes on top. */
  offset = 0
  address = 0
  length = 0
  flags = 0
  done = 0
  retries = 0
  operation: Operation | undefined = undefined
  socket: UringSocket | undefined = undefined

  constructor(tag: number) {
    this.tag = tag
  }
}

/**
 * Writes the flight's submission entry, for what is not yet done of it. The ring must not be full.
 */
export function prepareFlight(ring: Ring, flight: Flight): void {
  const { opcode, fd, offset, address, length, flags, done, tag } = flight
  switch (opcode) {
    case IORING_OP.SENDMSG:
      ring.prepare(opcode, fd, 0, address, 1, flags, tag)
      break
    case IORING_OP.RECV:
      ring.prepare(opcode, fd, 0, address + done, length - done, flags, tag)
      break
    default:
      ring.prepare(opcode, fd, offset + done, address + done, length - done, flags, tag)
  }
}

/** A first in, first out of flights with room for all of them. */
export class FlightQueue {
  readonly #flights: (Flight | undefined)[]
  #head = 0
  count = 0

  constructor(flightsMax: number) {
    this.#flights = new Array<Flight | undefined>(flightsMax).fill(undefined)
  }

  push(flight: Flight): void {
    assert(this.count < this.#flights.length, 'flights: queue is full')
    this.#flights[(this.#head + this.count++) % this.#flights.length] = flight
  }

  shift(): Flight {
    assert(this.count > 0, 'flights: queue is empty')
    const flight = this.#flights[this.#head]!
    this.#flights[this.#head] = undefined
    this.#head = (this.#head + 1) % this.#flights.length
    this.count--
    return flight
  }
}

export class FlightTable {
  readonly #flights: readonly Flight[]
  readonly #free: Flight[]

  constructor(flightsMax: number) {
    this.#flights = Array.from({ length: flightsMax }, (_, tag) => new Flight(tag))
    this.#free = this.#flights.toReversed()
  }

  /** Entries in use. */
  get count(): number {
    return this.#flights.length - this.#free.length
  }

  claim(operation: Operation): Flight {
    const flight = this.#free.pop()
    assert(flight, `engine: more than ${this.#flights.length} operations under way`)
    flight.operation = operation
    flight.socket = undefined
    flight.offset = 0
    flight.address = 0
    flight.length = 0
    flight.flags = 0
    flight.done = 0
    flight.retries = 0
    return flight
  }

  get(tag: number): Flight {
    const flight = this.#flights[tag]
    assert(flight?.operation, 'engine: completion of an operation that is not under way')
    return flight
  }

  free(flight: Flight): void {
    assert(flight.operation, 'engine: operation settled twice')
    flight.operation = undefined
    flight.socket = undefined
    this.#free.push(flight)
  }
}
