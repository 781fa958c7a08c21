/**
 * The kernel's nbd client, set up by generic netlink (linux/nbd-netlink.h), so that no process has
 * to stay for a device to live. The caller negotiates with the server and hands over the connected
 * socket; the kernel keeps its own reference, and the caller closes its descriptor, or keeps it to
 * shut a hung server's connection down.
 */
import {
  type Attribute,
  decodeAttributes,
  type GenericMessage,
  type RawAttribute,
  u8Of,
  u32Of,
} from './netlink-codec.ts'
import { NetlinkError } from './netlink-error.ts'
import { type Family, NetlinkSocket } from './netlink-socket.ts'

const FAMILY = 'nbd'
const GROUP = 'nbd_mc_group'

const NBD_CMD_CONNECT = 1
const NBD_CMD_DISCONNECT = 2
const NBD_CMD_RECONFIGURE = 3
const NBD_CMD_LINK_DEAD = 4
const NBD_CMD_STATUS = 5

const NBD_ATTR_INDEX = 1
const NBD_ATTR_SIZE_BYTES = 2
const NBD_ATTR_BLOCK_SIZE_BYTES = 3
const NBD_ATTR_TIMEOUT = 4
const NBD_ATTR_SERVER_FLAGS = 5
const NBD_ATTR_SOCKETS = 7
const NBD_ATTR_DEAD_CONN_TIMEOUT = 8
const NBD_ATTR_DEVICE_LIST = 9
const NBD_ATTR_BACKEND_IDENTIFIER = 10
const NBD_SOCK_ITEM = 1
const NBD_SOCK_FD = 1
const NBD_DEVICE_INDEX = 1
const NBD_DEVICE_CONNECTED = 2

export interface NbdTimeouts {
  /** Seconds until a request that is not answered makes the connection dead; 0: never. */
  readonly timeoutSeconds: number
  /** Seconds for which requests wait for another connection after one has died; 0: they fail. */
  readonly deadConnectionSeconds: number
}

export interface NbdConnectOptions extends NbdTimeouts {
  /** Which device; the kernel takes any free one if it is left out. */
  readonly index?: number
  /** Bytes. */
  readonly size: number
  readonly blockSize: number
  /** Transmission flags as the server sent them. */
  readonly serverFlags: number
  /** Connected stream sockets. More than one needs a server that allows it. */
  readonly fds: readonly number[]
  /** Whose device this is (Linux 5.14); a later reconfigure must give the same. */
  readonly identifier?: string
}

export interface NbdDeviceState {
  readonly index: number
  readonly isConnected: boolean
}

export class KernelNbd {
  #socket: NetlinkSocket
  #isClosed = false
  readonly #family: Family
  readonly #timeoutMs: number | undefined

  private constructor(socket: NetlinkSocket, family: Family, timeoutMs: number | undefined) {
    this.#socket = socket
    this.#family = family
    this.#timeoutMs = timeoutMs
  }

  /** Throws NetlinkError `missing` where the module is not loaded. */
  static async open(timeoutMs?: number): Promise<KernelNbd> {
    const socket = NetlinkSocket.open(timeoutMs)
    try {
      return new KernelNbd(socket, await nbdFamily(socket), timeoutMs)
    } catch (error) {
      socket.close()
      throw error
    }
  }

  /**
   * Returns the index: the device is /dev/nbd<index>. EBUSY: that one is in use, or none is free.
   */
  async connect(options: NbdConnectOptions): Promise<number> {
    const replies = await this.#ask(NBD_CMD_CONNECT, connectAttributes(options))
    const index = replies
      .flatMap(({ attributes }) => attributes)
      .find(({ type }) => type === NBD_ATTR_INDEX)
    if (index !== undefined) return u32Of(index)
    if (options.index !== undefined) return options.index
    throw new NetlinkError('nbd connect', 'malformed', 'the kernel did not say which device')
  }

  /** Every request in flight fails at once: put something above that keeps the guest from it. */
  async disconnect(index: number): Promise<void> {
    await this.#ask(NBD_CMD_DISCONNECT, [{ type: NBD_ATTR_INDEX, u32: index }])
  }

  /**
   * Replaces connections that are dead. The kernel drops a new one in silence while the old one is
   * alive, so wait for its death first.
   */
  async reconfigure(
    index: number,
    fds: readonly number[],
    options: Partial<NbdTimeouts> & { readonly identifier?: string } = {},
  ): Promise<void> {
    await this.#ask(NBD_CMD_RECONFIGURE, [
      { type: NBD_ATTR_INDEX, u32: index },
      ...timeoutAttributes(options),
      ...identifierAttributes(options.identifier),
      socketAttribute(fds),
    ])
  }

  /** Of one device, or of all that the kernel has. */
  async status(index?: number): Promise<NbdDeviceState[]> {
    const attributes = index === undefined ? [] : [{ type: NBD_ATTR_INDEX, u32: index }]
    const replies = await this.#ask(NBD_CMD_STATUS, attributes)
    return replies.flatMap(decodeStatus)
  }

  /**
   * Calls `died` with the index of each device that loses a connection, until the watch is closed,
   * and `lost` once if no more will be told: then close it, look at `status`, and watch anew.
   */
  async watchDeadLinks(
    died: (index: number) => void,
    lost: (error: unknown) => void,
  ): Promise<{ close(): Promise<void> }> {
    const group = this.#family.groups.get(GROUP)
    if (group === undefined) {
      throw new NetlinkError('nbd watch', 'missing', `the kernel has no group ${GROUP}`)
    }
    // A socket of its own: notices must not come between a request and its answer.
    const socket = NetlinkSocket.open(this.#timeoutMs)
    socket.join(group)
    const finished = follow(socket, this.#family, died).catch(lost)
    return {
      close: () => {
        socket.close()
        return finished
      },
    }
  }

  close(): void {
    this.#isClosed = true
    this.#socket.close()
  }

  #ask(command: number, attributes: readonly Attribute[]): Promise<GenericMessage[]> {
    // One whose answer came too late has closed itself; the family's number stays.
    if (this.#socket.isClosed && !this.#isClosed) {
      this.#socket = NetlinkSocket.open(this.#timeoutMs)
    }
    return this.#socket.request(this.#family, command, attributes)
  }
}

async function nbdFamily(socket: NetlinkSocket): Promise<Family> {
  try {
    return await socket.family(FAMILY)
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.code !== 'missing') throw error
    const remedy = 'this kernel has no nbd client; run `modprobe nbd max_part=0`'
    throw new NetlinkError('nbd', 'missing', remedy, error)
  }
}

async function follow(
  socket: NetlinkSocket,
  family: Family,
  died: (index: number) => void,
): Promise<void> {
  for (;;) {
    const notices = await socket.nextNotices(family)
    if (notices.length === 0) return
    for (const notice of notices) {
      const index = deadLinkOf(notice)
      if (index !== undefined) died(index)
    }
  }
}

export function connectAttributes(options: NbdConnectOptions): Attribute[] {
  const { index, size, blockSize, serverFlags, fds, identifier } = options
  return [
    ...(index === undefined ? [] : [{ type: NBD_ATTR_INDEX, u32: index }]),
    { type: NBD_ATTR_SIZE_BYTES, u64: BigInt(size) },
    { type: NBD_ATTR_BLOCK_SIZE_BYTES, u64: BigInt(blockSize) },
    { type: NBD_ATTR_SERVER_FLAGS, u64: BigInt(serverFlags) },
    ...timeoutAttributes(options),
    ...identifierAttributes(identifier),
    socketAttribute(fds),
  ]
}

function timeoutAttributes(options: Partial<NbdTimeouts>): Attribute[] {
  const { timeoutSeconds, deadConnectionSeconds } = options
  const all: [number, number | undefined][] = [
    [NBD_ATTR_TIMEOUT, timeoutSeconds],
    [NBD_ATTR_DEAD_CONN_TIMEOUT, deadConnectionSeconds],
  ]
  return all.flatMap(([type, value]) => (value === undefined ? [] : [{ type, u64: BigInt(value) }]))
}

function identifierAttributes(identifier: string | undefined): Attribute[] {
  return identifier === undefined ? [] : [{ type: NBD_ATTR_BACKEND_IDENTIFIER, text: identifier }]
}

function socketAttribute(fds: readonly number[]): Attribute {
  const nested = fds.map(fd => ({ type: NBD_SOCK_ITEM, nested: [{ type: NBD_SOCK_FD, u32: fd }] }))
  return { type: NBD_ATTR_SOCKETS, nested }
}

/** The devices in an answer to a status request. */
export function decodeStatus({ attributes }: GenericMessage): NbdDeviceState[] {
  const lists = attributes.filter(({ type }) => type === NBD_ATTR_DEVICE_LIST)
  return lists.flatMap(({ value }) => decodeAttributes(value)).flatMap(decodeDevice)
}

function decodeDevice({ value }: RawAttribute): NbdDeviceState[] {
  const fields = decodeAttributes(value)
  const index = fields.find(({ type }) => type === NBD_DEVICE_INDEX)
  const connected = fields.find(({ type }) => type === NBD_DEVICE_CONNECTED)
  if (index === undefined || connected === undefined) return []
  return [{ index: u32Of(index), isConnected: u8Of(connected) !== 0 }]
}

/** The index in a notice of a dead connection; undefined for any other notice. */
export function deadLinkOf({ command, attributes }: GenericMessage): number | undefined {
  if (command !== NBD_CMD_LINK_DEAD) return undefined
  const index = attributes.find(({ type }) => type === NBD_ATTR_INDEX)
  return index && u32Of(index)
}
