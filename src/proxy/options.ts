/**
 * What the per-disk process is started with, and what its starter holds afterwards. The command
 * line builds the options from arguments and checks only their form; whether the disk, the
 * addresses and the files can be used is for `startProxy` to find out.
 */

/** The options of `startProxy`. Nothing here has a default: the command line's table has them. */
export interface ProxyOptions {
  /** The disk: a block device or a regular file. */
  readonly path: string
  /** NBD URIs to listen on, at least one. Port 0 means any free one. */
  readonly listen: readonly string[]
  /** Path of the control socket; without one the proxy cannot be asked or told anything. */
  readonly control: string | undefined
  readonly readOnly: boolean
  /** Device-mapper holds the block device already, so it is not opened with O_EXCL. */
  readonly held: boolean
  /** Name of the export; the empty string is the default export. */
  readonly exportName: string
  /** Human-readable text that clients see beside the export's name. */
  readonly description: string
  /** `auto` takes uring where the kernel allows it. */
  readonly engine: 'auto' | 'uring' | 'libuv'
  /** O_DIRECT. `auto` takes it where the disk can. */
  readonly direct: 'auto' | 'on' | 'off'
  /** The file that keeps the dirty bitmap, on tmpfs, so that it outlives a killed process. */
  readonly bitmap: string | undefined
  /** File of `identity:hexkey` lines; needed to listen on `nbds` URIs. */
  readonly tlsPskFile: string | undefined
  /** Clients at one time, over all listeners; the next one is turned away. */
  readonly connectionsMax: number
}

/** A running proxy. `startProxy` resolves with it once every listener accepts connections. */
export interface Proxy {
  /** The URIs clients can connect to, in the order of `ProxyOptions.listen`, with real ports. */
  readonly listening: readonly string[]
  /**
   * Soft shutdown: takes no new client, lets requests under way finish, closes the disk. Settles
   * when that is done and never rejects for a client's sake; calling it again waits for the same
   * end.
   */
  stop(): Promise<void>
  /** Settles when the proxy has ended, asked or not; rejects with the reason if it broke. */
  readonly stopped: Promise<void>
}
