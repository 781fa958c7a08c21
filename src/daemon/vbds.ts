/** The guests' disks as xenstore has them: what libxl asked for and what blkback was given. */
import type { DiskPlace, Xenstore } from './host.ts'

const BACKENDS = '/local/domain/0/backend/vbd'
const QEMU_BACKENDS = '/local/domain/0/backend/qdisk'

export interface Vbd {
  readonly domid: number
  /** Below the own domain, as libxl hands it to scripts. */
  readonly path: string
  /** As in the guest: xvda. */
  readonly vdev: string
  /** `target=`, word for word. */
  readonly disk: string
  readonly script: string
  readonly isReadOnly: boolean
  /** `major:minor`, decimal; undefined before the hotplug script has run. */
  readonly device: string | undefined
}

/** The disks of one domain, or of all. */
export async function vbdsOf(xenstore: Xenstore, domid?: number): Promise<Vbd[]> {
  const root = domid === undefined ? BACKENDS : `${BACKENDS}/${domid}`
  const tree = await xenstore.tree(root)
  const found = new Map<string, Map<string, string>>()
  for (const [path, value] of tree) {
    const [, key, field] = /^\/local\/domain\/0\/(backend\/vbd\/\d+\/\d+)\/(.+)$/.exec(path) ?? []
    if (key === undefined || field === undefined) continue
    const fields = found.get(key) ?? new Map<string, string>()
    found.set(key, fields.set(field, value))
  }
  return [...found].map(([path, fields]) => vbdOf(path, fields))
}

function vbdOf(path: string, fields: ReadonlyMap<string, string>): Vbd {
  return {
    domid: Number(path.split('/')[2]),
    path,
    vdev: fields.get('dev') ?? '',
    disk: fields.get('params') ?? '',
    script: fields.get('script') ?? '',
    isReadOnly: fields.get('mode') === 'r',
    device: decimal(fields.get('physical-device')),
  }
}

function decimal(numbers: string | undefined): string | undefined {
  const [major = '', minor = ''] = (numbers ?? '').split(':')
  if (!/^[0-9a-f]+$/i.test(major) || !/^[0-9a-f]+$/i.test(minor)) return undefined
  return `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`
}

/**
 * Disks that the domain has through anything else than blkback of dom0: QEMU, or a driver domain.
 * From libxl's own notes, which no guest can change.
 */
export async function foreignDisksOf(
  xenstore: Xenstore,
  domid: number,
): Promise<Pick<Vbd, 'vdev' | 'isReadOnly'>[]> {
  const root = `/libxl/${domid}/device/vbd`
  const tree = await xenstore.tree(root)
  const found: Pick<Vbd, 'vdev' | 'isReadOnly'>[] = []
  for (const [path, backend] of tree) {
    const [, folder] = /^(.*\/\d+)\/backend$/.exec(path) ?? []
    if (folder === undefined || backend.startsWith(`${BACKENDS}/`)) continue
    const vdev = tree.get(`${folder}/dev`) ?? folder.slice(root.length + 1)
    found.push({ vdev, isReadOnly: tree.get(`${folder}/mode`) === 'r' })
  }
  return found
}

/** What QEMU of this host serves to guests, by its path. */
export async function qemuDisksOf(
  xenstore: Xenstore,
): Promise<{ domid: number; vdev: string; path: string }[]> {
  const tree = await xenstore.tree(QEMU_BACKENDS)
  return [...tree].flatMap(([node, params]) => {
    const [, folder, domid] = /^(.*\/(\d+)\/\d+)\/params$/.exec(node) ?? []
    // As aio:raw:/srv/web1.img.
    const [path] = /\/.*$/.exec(params) ?? []
    if (folder === undefined || path === undefined) return []
    return [{ domid: Number(domid), vdev: tree.get(`${folder}/dev`) ?? 'disk', path }]
  })
}

/** Whether it is this disk, under this name or another. */
export function isOn(
  { disk, device }: Vbd,
  name: string,
  { path, numbers }: Pick<DiskPlace, 'path' | 'numbers'>,
): boolean {
  return disk === name || disk === path || (numbers !== undefined && device === numbers)
}

/** As blkback wants it. */
export function hexadecimal({ major, minor }: { major: number; minor: number }): string {
  return `${major.toString(16)}:${minor.toString(16)}`
}
