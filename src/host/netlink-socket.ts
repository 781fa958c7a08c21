/**
 * A generic netlink socket: one request at a time, and apart from that the notices of the groups it
 * has joined. The kernel does what is asked inside the send, which may wait for long, so sends and
 * waits run on libuv's thread pool. After a `timeout` the socket is closed, since a late answer
 * would be taken for the next one's; whoever owns it opens another.
 */
import { check, close } from '../io/libc.ts'
import {
  netlinkSocket,
  pollReadableAsync,
  receiveNow,
  sendAsync,
  setNetlinkOption,
} from '../io/libc-control.ts'
import {
  type Attribute,
  decodeAcknowledgement,
  decodeAttributes,
  decodeGeneric,
  decodeMessages,
  encodeGeneric,
  type GenericMessage,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  textOf,
  u16Of,
  u32Of,
} from './netlink-codec.ts'
import { NetlinkError } from './netlink-error.ts'

export interface Family {
  readonly id: number
  readonly name: string
  readonly version: number
  /** Multicast groups, name to number. */
  readonly groups: ReadonlyMap<string, number>
}

/** Longest wait for an answer unless the caller says otherwise (ms). */
export const NETLINK_TIMEOUT_MS = 10_000
/** A kernel's message has at most a page or two; larger ones are refused. */
const DATAGRAM_BYTES_MAX = 64 * 1024
/** Requests that may wait for their turn. */
const WAITING_MAX = 64
/** One wait of a pool thread for something to read (ms); closing takes as long at most. */
const POLL_MS = 200

const NETLINK_GENERIC = 16
const NETLINK_ADD_MEMBERSHIP = 1
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const GENL_ID_CTRL = 16
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2
const CTRL_ATTR_VERSION = 3
const CTRL_ATTR_MCAST_GROUPS = 7
const CTRL_ATTR_MCAST_GRP_NAME = 1
const CTRL_ATTR_MCAST_GRP_ID = 2
const EAGAIN = 11
const EINTR = 4
const ENOBUFS = 105

const CONTROLLER: Family = { id: GENL_ID_CTRL, name: 'nlctrl', version: 1, groups: new Map() }

export class NetlinkSocket {
  readonly #fd: number
  readonly #timeoutMs: number
  readonly #buffer = new Uint8Array(new ArrayBuffer(DATAGRAM_BYTES_MAX))
  #sequence = 0
  #waiting = 0
  #turn: Promise<unknown> = Promise.resolve()
  /** Calls in the kernel that use the descriptor. */
  #held = 0
  #isClosed = false

  private constructor(fd: number, timeoutMs: number) {
    this.#fd = fd
    this.#timeoutMs = timeoutMs
  }

  static open(timeoutMs: number = NETLINK_TIMEOUT_MS): NetlinkSocket {
    const fd = check(netlinkSocket(NETLINK_GENERIC), 'netlink socket')
    // Older kernels know neither; then errors come without words, or with the request repeated.
    setNetlinkOption(fd, NETLINK_EXT_ACK, 1)
    setNetlinkOption(fd, NETLINK_CAP_ACK, 1)
    return NetlinkSocket.over(fd, timeoutMs)
  }

  /** Over a descriptor that is open already, and is owned from then on. */
  static over(fd: number, timeoutMs: number): NetlinkSocket {
    return new NetlinkSocket(fd, timeoutMs)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Throws NetlinkError `missing` if the kernel does not have it. */
  async family(name: string): Promise<Family> {
    const attributes: Attribute[] = [{ type: CTRL_ATTR_FAMILY_NAME, text: name }]
    try {
      const [reply] = await this.request(CONTROLLER, CTRL_CMD_GETFAMILY, attributes)
      if (reply !== undefined) return familyOf(name, reply)
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error
    }
    const problem = `the kernel has no family ${name}; load its module`
    throw new NetlinkError('family', 'missing', problem)
  }

  /** From now on the group's notices arrive at `nextNotices`. */
  join(group: number): void {
    check(setNetlinkOption(this.#fd, NETLINK_ADD_MEMBERSHIP, group), 'netlink join')
  }

  /** One request; the answers that came before its acknowledgement. Throws NetlinkError. */
  async request(
    family: Family,
    command: number,
    attributes: readonly Attribute[],
  ): Promise<GenericMessage[]> {
    if (this.#waiting >= WAITING_MAX) {
      const problem = `${WAITING_MAX} requests are waiting already`
      throw new NetlinkError(`${family.name} command ${command}`, 'EBUSY', problem)
    }
    this.#waiting++
    const turn = this.#turn.then(() => this.#exchange(family, command, attributes))
    this.#turn = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#waiting--
    }
  }

  async #exchange(
    family: Family,
    command: number,
    attributes: readonly Attribute[],
  ): Promise<GenericMessage[]> {
    const operation = `${family.name} command ${command}`
    this.#checkOpen(operation)
    const sequence = ++this.#sequence
    const flags = NLM_F_REQUEST | NLM_F_ACK
    const { id, version } = family
    const bytes = encodeGeneric({ family: id, flags, sequence, command, version, attributes })
    const deadline = performance.now() + this.#timeoutMs
    const sent = await this.#deadline(operation, settled => sendAsync(this.#fd, bytes, settled))
    if (sent < 0) throw NetlinkError.fromErrno(operation, -sent)
    const replies: GenericMessage[] = []
    for (;;) {
      const messages = this.#receive()
      if (messages === undefined) await this.#readable(operation, deadline)
      for (const message of messages ?? []) {
        if (message.sequence !== sequence) continue
        if (message.type === NLMSG_DONE) return replies
        if (message.type !== NLMSG_ERROR) {
          replies.push(decodeGeneric(message.payload))
          continue
        }
        const { errno, sentence } = decodeAcknowledgement(message)
        if (errno !== 0) throw NetlinkError.fromErrno(operation, errno, sentence)
        return replies
      }
    }
  }

  /**
   * Waits for notices of a family on a socket that has joined a group and makes no more requests.
   * Empty when the socket was closed. Throws NetlinkError `lost` if the kernel dropped some.
   */
  async nextNotices(family: Family): Promise<GenericMessage[]> {
    while (!this.#isClosed) {
      const messages = this.#receive()
      const notices = (messages ?? [])
        .filter(({ type }) => type === family.id)
        .map(({ payload }) => decodeGeneric(payload))
      if (notices.length > 0) return notices
      if (messages === undefined) await this.#poll(POLL_MS)
    }
    return []
  }

  /** The messages of the next datagram; undefined if there is none now. */
  #receive(): NetlinkMessage[] | undefined {
    const length = receiveNow(this.#fd, this.#buffer)
    if (length === -EAGAIN || length === -EINTR) return undefined
    if (length === -ENOBUFS) {
      throw new NetlinkError('receive', 'lost', 'the kernel dropped messages; ask for the state')
    }
    if (length < 0) throw NetlinkError.fromErrno('receive', -length)
    if (length > DATAGRAM_BYTES_MAX) {
      throw new NetlinkError('receive', 'malformed', `a datagram of ${length} bytes`)
    }
    // A copy: attributes are views, and the buffer is used again.
    return decodeMessages(this.#buffer.slice(0, length))
  }

  async #readable(operation: string, deadline: number): Promise<void> {
    if (performance.now() >= deadline) throw this.#timedOut(operation)
    await this.#poll(POLL_MS)
    this.#checkOpen(operation)
  }

  async #poll(timeoutMs: number): Promise<void> {
    await this.#hold(settled => pollReadableAsync(this.#fd, timeoutMs, settled))
  }

  #deadline(operation: string, call: (settled: (n: number) => void) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#timedOut(operation)), this.#timeoutMs)
      this.#hold(call)
        .then(resolve, reject)
        .finally(() => clearTimeout(timer))
    })
  }

  async #hold(call: (settled: (n: number) => void) => void): Promise<number> {
    this.#held++
    const result = await new Promise<number>(call)
    this.#held--
    if (this.#isClosed && this.#held === 0) close(this.#fd)
    return result
  }

  #timedOut(operation: string): NetlinkError {
    this.close()
    const problem = `no answer in ${this.#timeoutMs} ms; the kernel may still act`
    return new NetlinkError(operation, 'timeout', problem)
  }

  #checkOpen(operation: string): void {
    if (this.#isClosed) throw new NetlinkError(operation, 'closed', 'the socket is closed')
  }

  /** The descriptor goes as soon as no call in the kernel uses it. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#held === 0) close(this.#fd)
  }
}

function familyOf(name: string, { attributes }: GenericMessage): Family {
  const find = (type: number) => attributes.find(attribute => attribute.type === type)
  const id = find(CTRL_ATTR_FAMILY_ID)
  if (id === undefined) throw new NetlinkError('family', 'malformed', `${name} has no number`)
  const version = find(CTRL_ATTR_VERSION)
  const groups = new Map<string, number>()
  for (const group of decodeAttributes(find(CTRL_ATTR_MCAST_GROUPS)?.value ?? new Uint8Array())) {
    const fields = decodeAttributes(group.value)
    const groupName = fields.find(({ type }) => type === CTRL_ATTR_MCAST_GRP_NAME)
    const groupId = fields.find(({ type }) => type === CTRL_ATTR_MCAST_GRP_ID)
    if (groupName && groupId) groups.set(textOf(groupName), u32Of(groupId))
  }
  return { id: u16Of(id), name, version: version === undefined ? 1 : u32Of(version), groups }
}
