/**
 * NBD servers as users would start them, each in the fastest documented way that keeps what it
 * promises: nbdkit with its default threads, qemu-nbd with io_uring and a write-back cache. All
 * listen on unix sockets, so that no network stack is measured along with them.
 */
import { fileURLToPath } from 'node:url'
import { Service, STANDBY_FD } from './service.ts'

/** The built command; this file is as deep in src as in dist. */
const BLKFERRY = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const CLIENTS_MAX = 16

export type ServerName = 'blkferry' | 'blkferry libuv' | 'nbdkit' | 'qemu-nbd'

export interface ServerOptions {
  readonly path: string
  /** Stem of the names of its sockets; must be new. */
  readonly socket: string
  /** Go past the page cache. */
  readonly direct?: boolean
  /**
   * Ours only: prepare first, as the one that a daemon puts into a guest’s path does, by serving a
   * scratch file to itself.
   */
  readonly standsBy?: boolean
  /** Ours only: keep the dirty bitmap in this file. */
  readonly bitmap?: string | undefined
  /** Demand TLS with this key. */
  readonly tls?: TlsKey | undefined
}

export interface TlsKey {
  readonly identity: string
  /** A folder with the file keys.psk, as qemu wants it. */
  readonly folder: string
  readonly file: string
}

export function startServer(name: ServerName, options: ServerOptions): Promise<Service> {
  const { argv, socket } = commandLine(name, options)
  return Service.start(argv, socket, options)
}

/** What a client connects to. */
export function uriOf(socket: string, tls?: TlsKey): string {
  if (tls === undefined) return `nbd+unix:///?socket=${socket}`
  return `nbds+unix://${tls.identity}@/?socket=${socket}&tls-psk-file=${tls.file}`
}

export function controlSocketOf(stem: string): string {
  return `${stem}.control`
}

function commandLine(name: ServerName, options: ServerOptions) {
  const socket = `${options.socket}.nbd`
  return { socket, argv: ARGV[name]({ ...options, socket }, options.socket) }
}

const ARGV: Readonly<Record<ServerName, (options: ServerOptions, stem: string) => string[]>> = {
  blkferry: (options, stem) => ownArgv(options, stem, 'auto'),
  'blkferry libuv': (options, stem) => ownArgv(options, stem, 'libuv'),
  nbdkit: ({ path, socket, direct, tls }) => [
    'nbdkit',
    '--foreground',
    ...['--unix', socket],
    ...(tls === undefined ? [] : ['--tls=require', `--tls-psk=${tls.file}`]),
    // Its file plugin cannot do O_DIRECT: cache=none drops pages behind itself instead.
    ...['file', path, ...(direct === true ? ['cache=none'] : [])],
  ],
  'qemu-nbd': ({ path, socket, direct, tls }) => [
    'qemu-nbd',
    ...['--format=raw', '--persistent', `--shared=${CLIENTS_MAX}`, '--aio=io_uring'],
    `--cache=${direct === true ? 'none' : 'writeback'}`,
    ...['--discard=unmap', `--socket=${socket}`],
    ...(tls === undefined
      ? []
      : [
          '--object',
          `tls-creds-psk,id=tls,endpoint=server,dir=${tls.folder}`,
          '--tls-creds',
          'tls',
        ]),
    path,
  ],
}

function ownArgv(
  { path, socket, direct, standsBy, bitmap, tls }: ServerOptions,
  stem: string,
  engine: 'auto' | 'libuv',
): string[] {
  return [
    ...[process.execPath, BLKFERRY, 'serve', path, '--log-level', 'warn'],
    ...['--listen', `nbd${tls === undefined ? '' : 's'}+unix:///?socket=${socket}`],
    ...['--control', controlSocketOf(stem), '--engine', engine],
    ...['--direct', direct === true ? 'on' : 'off'],
    ...(standsBy === true ? ['--standby', String(STANDBY_FD)] : []),
    ...(bitmap === undefined ? [] : ['--bitmap', bitmap]),
    ...(tls === undefined ? [] : ['--tls-psk', tls.file]),
  ]
}
