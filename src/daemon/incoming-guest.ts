/** The domain that xl made at the destination, once its relay and its xl are gone. */
import type { Host, Toolstack } from './host.ts'

/**
 * The guest is to run here: under its own name, and not paused. If its domain is gone, as after a
 * crash, of it or of the host, what the operator has to do: it may have run, so that its writes are
 * here and nowhere else.
 */
export async function keepGuest(
  { toolstack, name }: Pick<Host, 'toolstack' | 'name'>,
  domain: string,
  domid: number | undefined,
): Promise<string | undefined> {
  const found = domid === undefined ? undefined : await toolstack.findById(domid)
  // The next boot gives the number to another guest.
  if (found === undefined || !isOf(domain, found.name)) {
    const what = `${name} owns the disks of ${domain}, which does not run there`
    return `${what}: start it on ${name} with xl create`
  }
  if (found.name !== domain) await toolstack.rename(found.domid, domain)
  await toolstack.unpause(found.domid)
  return undefined
}

const isOf = (domain: string, name: string): boolean =>
  name === domain || name === `${domain}--incoming`

/** The guest runs at the source: what was made for it here goes. */
export async function dropGuest(
  toolstack: Toolstack,
  domain: string,
  domid: number | undefined,
): Promise<void> {
  const found = await toolstack.find(`${domain}--incoming`)
  if (found === undefined || (domid ?? found.domid) !== found.domid) return
  await toolstack.destroy(found.domid)
}
