/** The domain that xl made at the destination, once its relay and its xl are gone. */
import type { Toolstack } from './host.ts'

/** The guest is to run here: under its own name, and not paused. */
export async function keepGuest(
  toolstack: Toolstack,
  domain: string,
  domid: number | undefined,
): Promise<void> {
  const found = domid === undefined ? undefined : await toolstack.find(String(domid))
  if (found === undefined) return
  if (found.name !== domain) await toolstack.rename(found.domid, domain)
  await toolstack.unpause(found.domid)
}

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
