/** One colour a subject, the same in every plot; ours is the strongest. */
import { roleOf, SUBJECTS } from '../subjects.ts'

const COLOURS: Readonly<Record<string, string>> = {
  blkferry: '#0b6e8f',
  'blkferry libuv': '#63b3cc',
  nbdkit: '#d9822b',
  'qemu-nbd': '#8a6fb8',
  nbdcopy: '#c25b6c',
  'qemu mirror': '#8a6fb8',
  'qemu blocking': '#b58fd0',
  'bare file': '#b9b3a6',
}

export function colourOf(subject: string): string {
  return COLOURS[subject] ?? '#777777'
}

/** Ours is drawn thicker, the limit dashed. */
export function strokeOf(subject: string): { readonly width: number; readonly dash: string } {
  const role = roleOf(subject)
  return { width: role === 'own' ? 2.6 : 1.6, dash: role === 'limit' ? '4 3' : 'none' }
}

export function meaningOf(subject: string): string {
  return SUBJECTS.find(({ name }) => name === subject)?.meaning ?? subject
}
