/** What a destination's journal says about a session, once it cannot change any more. */
import type { Word } from '../migration/phases.ts'
import type { HostJournal } from './host-journal.ts'

/**
 * `epoch`: of the source before the session. All disks of a session change together, so that one
 * which differs is no word at all. `nothing` also where a disk was never admitted: then this
 * journal is not the one that was asked before.
 */
export function wordOf(
  journal: HostJournal,
  session: string,
  disks: readonly { readonly disk: string; readonly epoch: number }[],
): Word {
  const words = new Set(disks.map(one => wordOfDisk(journal, session, one)))
  const [word] = words
  return words.size === 1 && word !== undefined ? word : 'nothing'
}

function wordOfDisk(
  journal: HostJournal,
  session: string,
  { disk, epoch }: { readonly disk: string; readonly epoch: number },
): Word {
  const holding = journal.holding(disk)
  if (holding.role === 'none' && holding.session === session) {
    return holding.epoch > epoch ? 'handed-back' : 'refused'
  }
  // As long as it has not settled it may still hand back.
  const isUnsettled = holding.session === session
  return holding.epoch > epoch && !isUnsettled ? 'accepted' : 'nothing'
}
