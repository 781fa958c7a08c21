/** Composition: filters over a leaf make a device like any other. */
import type { BlockDevice } from './device.ts'

/** A filter, before it knows what is below it. */
export type Filter = (next: BlockDevice) => BlockDevice

/**
 * Puts filters over a leaf; reads in the order in which a request travels: `chain(checked, gate,
 * mirror, file)`.
 */
export function chain(...links: [...filters: Filter[], leaf: BlockDevice]): BlockDevice {
  const filters = links.slice(0, -1) as Filter[]
  return filters.reduceRight<BlockDevice>(
    (next, filter) => filter(next),
    links.at(-1) as BlockDevice,
  )
}
