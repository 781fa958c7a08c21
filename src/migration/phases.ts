/**
 * The phases of a migration, what may follow what, what undoes each, and who owns the disks after a
 * failure in each; as data, so that tests can go through all of it. There is one point of no
 * return, inside switchover: the source's journal says given-away. Before it every failure leaves
 * the source the owner; after it only the destination's word decides, and without that word the
 * outcome is undefined: both hosts keep their hands off, and the operator is told what to look at.
 *
 *   setup -> active -> ready -> switchover -> completed
 *                  <-
 *   each but completed -> cancelling -> cancelled, or failed
 */

export const PHASES = [
  'setup',
  'active',
  'ready',
  'switchover',
  'completed',
  'cancelling',
  'cancelled',
  'failed',
] as const
export type Phase = (typeof PHASES)[number]

const NEXT: Readonly<Record<Phase, readonly Phase[]>> = {
  // Both hosts are looked at, the target is made, the proxies start, the tables are swapped.
  setup: ['active', 'cancelling', 'failed'],
  // The disks are copied, the guest goes on writing.
  active: ['ready', 'cancelling', 'failed'],
  // Every write reaches both disks; memory is on its way.
  ready: ['active', 'switchover', 'cancelling', 'failed'],
  // The guest is suspended, its disks are sealed. In here lies the point of no return.
  switchover: ['completed', 'cancelling', 'failed'],
  // The guest runs at the destination.
  completed: [],
  // Undoing, because somebody wants it.
  cancelling: ['cancelled', 'failed'],
  cancelled: [],
  failed: [],
}

export function mayFollow(from: Phase, to: Phase): boolean {
  return NEXT[from].includes(to)
}

/** Whether an operator may still cancel. Past the point of no return the answer is no. */
export function isCancellable(phase: Phase, isGivenAway: boolean): boolean {
  return !isGivenAway && mayFollow(phase, 'cancelling')
}

export const UNDOS = [
  'nothing',
  'end session',
  'swap back, end session',
  'end memory migration, swap back, end session',
  'unseal, swap back, end session',
  'take back, unseal, swap back, end session',
  'fence, destroy the old domain, end session',
  'ask the destination',
] as const
export type Undo = (typeof UNDOS)[number]

/** What puts the source back as it was, from each phase and before the point of no return. */
const UNDO: Readonly<Record<Phase, Undo>> = {
  setup: 'end session',
  active: 'swap back, end session',
  ready: 'end memory migration, swap back, end session',
  switchover: 'unseal, swap back, end session',
  completed: 'nothing',
  // Of whatever was there: each part is harmless where it has nothing to undo.
  cancelling: 'unseal, swap back, end session',
  cancelled: 'nothing',
  failed: 'nothing',
}

/** Each part is harmless where there is nothing to undo, as after a reboot. */
export function undoOf(phase: Phase, isGivenAway: boolean, word: Word): Undo {
  return isGivenAway && !isFinal(phase) ? UNDO_OF_OUTCOME[OUTCOME_OF_WORD[word]] : UNDO[phase]
}

export function isFinal(phase: Phase): boolean {
  return NEXT[phase].length === 0
}

export const OUTCOMES = ['source-owns', 'destination-owns', 'undefined'] as const
export type Outcome = (typeof OUTCOMES)[number]

/**
 * What is known of the destination, after the point of no return. `withheld`: permission to start
 * never left the source, which only the relay that held it can know. `accepted` and `refused`: what
 * its journal says. `handed-back`: it had accepted, its guest did not start, and its journal says
 * so.
 */
export const WORDS = ['nothing', 'withheld', 'accepted', 'refused', 'handed-back'] as const
export type Word = (typeof WORDS)[number]

const OUTCOME_OF_WORD: Readonly<Record<Word, Outcome>> = {
  nothing: 'undefined',
  withheld: 'source-owns',
  accepted: 'destination-owns',
  refused: 'source-owns',
  'handed-back': 'source-owns',
}

/** What follows once it is known who owns the disks, after the point of no return. */
const UNDO_OF_OUTCOME: Readonly<Record<Outcome, Undo>> = {
  'source-owns': 'take back, unseal, swap back, end session',
  'destination-owns': 'fence, destroy the old domain, end session',
  undefined: 'ask the destination',
}

/** Who owns the disks if it ends in this phase. */
export function outcomeOf(phase: Phase, isGivenAway: boolean, word: Word): Outcome {
  if (phase === 'completed') return 'destination-owns'
  return isGivenAway ? OUTCOME_OF_WORD[word] : 'source-owns'
}

/** A way to fail; its undo and its outcome follow from the tables above. */
export interface Failure {
  readonly case: string
  readonly what: string
  readonly phases: readonly Phase[]
  readonly isGivenAway: boolean
  readonly word: Word
}

const before = (name: string, what: string, ...phases: Phase[]): Failure => ({
  case: name,
  what,
  phases,
  isGivenAway: false,
  word: 'nothing',
})
const after = (name: string, word: Word, what: string, ...phases: Phase[]): Failure => ({
  case: name,
  what,
  phases,
  isGivenAway: true,
  word,
})

/** Every failure that the design knows. */
export const FAILURES: readonly Failure[] = [
  before('F1', 'copy, mirror, link or destination fails early', 'setup', 'active'),
  before('F2', 'mirror or link fails while memory moves', 'ready'),
  before('F3', 'destination, seal or ssh fails once the guest is suspended', 'switchover'),
  before('F4', 'relay, command or xl is killed before permission was given', 'switchover'),
  before('F5', 'the source cannot journal that it gives the disks away', 'switchover'),
  after('F5', 'withheld', 'the link is gone before permission could leave', 'switchover'),
  after('F6', 'nothing', 'the link is lost, the destination cannot be asked', 'switchover'),
  after('F6', 'accepted', 'the link is lost, the destination has accepted', 'switchover'),
  after('F6', 'refused', 'the link is lost, the destination has refused', 'switchover'),
  after('F7', 'handed-back', 'the guest does not start at the destination', 'switchover'),
  before('F8', 'the proxy dies for good', 'active', 'ready'),
  before('F9', 'the source host dies', 'setup', 'active', 'ready', 'switchover'),
  after('F9', 'nothing', 'the source host dies with the disks given away', 'switchover'),
  after(
    'F10',
    'accepted',
    'the destination host dies after it accepted',
    'switchover',
    'completed',
  ),
  before('F11', 'the guest is destroyed or rebooted', 'active', 'ready'),
]
