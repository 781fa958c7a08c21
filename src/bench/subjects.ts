/**
 * Who is measured: blkferry, its peers, and the limit. Names are columns of the tables and keys of
 * the JSON; roles say what is divided by what.
 */

/** `own` is what a table is about; its ratio to each `peer` is what counts. */
export type Role = 'own' | 'variant' | 'peer' | 'limit'

export interface Subject {
  readonly name: string
  readonly role: Role
  /** In words, for the legend. */
  readonly meaning: string
}

export const SUBJECTS = [
  { name: 'blkferry', role: 'own', meaning: 'this project, io_uring where the kernel has it' },
  { name: 'blkferry libuv', role: 'variant', meaning: 'this project on the libuv engine' },
  { name: 'nbdkit', role: 'peer', meaning: 'nbdkit with its file plugin' },
  { name: 'qemu-nbd', role: 'peer', meaning: 'qemu-nbd, raw, cache=writeback, aio=io_uring' },
  { name: 'nbdcopy', role: 'peer', meaning: 'nbdcopy of libnbd, from the file to the export' },
  {
    name: 'qemu mirror',
    role: 'peer',
    meaning: 'blockdev-mirror of qemu-storage-daemon, copy-mode=background',
  },
  {
    name: 'qemu blocking',
    role: 'peer',
    meaning: 'blockdev-mirror of qemu-storage-daemon, copy-mode=write-blocking',
  },
  {
    name: 'bare file',
    role: 'limit',
    meaning: 'the same load on the disk itself, or the same copy by dd, without a server',
  },
] as const satisfies readonly Subject[]

export type SubjectName = (typeof SUBJECTS)[number]['name']

export function roleOf(name: string): Role {
  return SUBJECTS.find(subject => subject.name === name)?.role ?? 'peer'
}

/** Those of `names`, in the order of the list above. */
export function inOrder(names: Iterable<string>): SubjectName[] {
  const wanted = new Set(names)
  return SUBJECTS.map(({ name }) => name).filter(name => wanted.has(name))
}
