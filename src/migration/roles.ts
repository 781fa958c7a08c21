/**
 * What a host is to a disk, and what may follow what; as data, so that tests can go through all
 * pairs. The epoch grows with every change of owner: of two hosts that both say owner, the higher
 * one is right. Along a hand-over it goes e at the source, e + 1 at the destination, and e + 2
 * where the source takes the disk back, so that a destination which had accepted it is never the
 * higher one.
 *
 *            admit            accept, settle
 *     none --------> incoming ----------------> owner
 *      ^ ^              |                      |  ^ ^
 *      | `--------------' refuse          seal |  | | unseal
 *      |  hand-back, give-up: owner -> none    v  | |
 *      |                                      sealed
 *      |   release                give-away     |   take-back
 *      `------------- given-away <--------------'   given-away -> owner
 */

/**
 * `none`: nothing to do with it. `owner`: the guest's writes go here. `incoming`: a copy is being
 * made here. `sealed`: still ours, no write gets through any more. `given-away`: the destination
 * may own it; only proof that it does not brings it back.
 */
export const ROLES = ['none', 'owner', 'incoming', 'sealed', 'given-away'] as const
export type Role = (typeof ROLES)[number]

export interface Holding {
  readonly role: Role
  /** 0: never owned, as far as is known here. */
  readonly epoch: number
  /**
   * The session that `incoming`, `sealed` and `given-away` belong to. With `owner`: the one that
   * brought it and has not settled. With `none`: the last one, which proves that it was refused.
   */
  readonly session: string | undefined
}

export const NO_HOLDING: Holding = { role: 'none', epoch: 0, session: undefined }

interface Rule {
  readonly from: Role
  readonly to: Role
  /** Added to the epoch. */
  readonly epoch: 0 | 1 | 2
  /**
   * `new`: another session than the one that is kept. `same`: exactly that one. `none`: the step is
   * of no session; `settled`: nor must one be kept.
   */
  readonly session: 'none' | 'settled' | 'new' | 'same'
  /** Whether the session is kept afterwards. */
  readonly keeps: boolean
}

export const RULES = {
  /** The operator, or a disk's first use. */
  claim: { from: 'none', to: 'owner', epoch: 1, session: 'none', keeps: false },
  admit: { from: 'none', to: 'incoming', epoch: 0, session: 'new', keeps: true },
  /** The destination's half of the point of no return. */
  accept: { from: 'incoming', to: 'owner', epoch: 1, session: 'same', keeps: true },
  /** The guest runs here: from now on nothing hands it back. */
  settle: { from: 'owner', to: 'owner', epoch: 0, session: 'same', keeps: false },
  refuse: { from: 'incoming', to: 'none', epoch: 0, session: 'same', keeps: true },
  /** The guest did not start here, and its domain is gone. */
  'hand-back': { from: 'owner', to: 'none', epoch: 0, session: 'same', keeps: true },
  seal: { from: 'owner', to: 'sealed', epoch: 0, session: 'new', keeps: true },
  unseal: { from: 'sealed', to: 'owner', epoch: 0, session: 'same', keeps: false },
  /** The point of no return. */
  'give-away': { from: 'sealed', to: 'given-away', epoch: 0, session: 'same', keeps: true },
  /** Only with proof: permission never left, or the destination has refused or handed back. */
  'take-back': { from: 'given-away', to: 'owner', epoch: 2, session: 'same', keeps: false },
  /** The operator wants another disk to come in its place: its guest is not to start here again. */
  'give-up': { from: 'owner', to: 'none', epoch: 0, session: 'settled', keeps: false },
  /** The operator needs the old copy no more. */
  release: { from: 'given-away', to: 'none', epoch: 0, session: 'same', keeps: true },
} as const satisfies Record<string, Rule>

export type RoleVerb = keyof typeof RULES
export const ROLE_VERBS = Object.keys(RULES) as readonly RoleVerb[]

/** One disk's part of a step. */
export interface RoleChange {
  readonly disk: string
  /** Which session does it; left out for a claim. */
  readonly session?: string
  /** With `admit`: the epoch at the source. */
  readonly epoch?: number
}

/** What follows, or a sentence that says why nothing does. */
export function follow(
  holding: Holding,
  verb: RoleVerb,
  { session, epoch }: Omit<RoleChange, 'disk'>,
): Holding | string {
  const rule: Rule = RULES[verb]
  if (holding.role !== rule.from) return `is ${describe(holding)}, and must be ${rule.from}`
  const isOfSession = rule.session === 'new' || rule.session === 'same'
  if (isOfSession !== (session !== undefined)) {
    return `${isOfSession ? 'needs a' : 'takes no'} session`
  }
  if (rule.session === 'settled' && holding.session !== undefined) {
    return `is ${describe(holding)}, which has not settled`
  }
  if (rule.session === 'same' && session !== holding.session) {
    return `is ${describe(holding)}, which session ${session} must not change`
  }
  if (rule.session === 'new' && session === holding.session) {
    return `session ${session} has ended here already; start another`
  }
  if ((verb === 'admit') !== (epoch !== undefined)) return 'an epoch comes with admit alone'
  if (epoch !== undefined && !(Number.isSafeInteger(epoch) && epoch >= 1)) {
    return `is offered with epoch ${epoch}, and an owner has 1 at least`
  }
  if (epoch !== undefined && epoch < holding.epoch) {
    return `has been at epoch ${holding.epoch} here, and is offered with ${epoch}, an old copy`
  }
  return {
    role: rule.to,
    epoch: (epoch ?? holding.epoch) + rule.epoch,
    session: rule.keeps ? session : undefined,
  }
}

export function describe({ role, session }: Holding): string {
  return session === undefined ? role : `${role} (session ${session})`
}
