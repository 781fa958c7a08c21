/**
 * The states of a mirror job, what may follow what, and which verb is allowed when; as data, so
 * that tests can go through all pairs.
 *
 *   created -> waiting -> running <-> ready -> switchover -> concluded
 *                 ^----------/---------/----------/
 */

export const STATES = ['created', 'running', 'ready', 'waiting', 'switchover', 'concluded'] as const
export type State = (typeof STATES)[number]

export const OUTCOMES = ['completed', 'cancelled', 'failed'] as const
export type Outcome = (typeof OUTCOMES)[number]

export const VERBS = ['start', 'set', 'cancel', 'complete', 'resume'] as const
export type Verb = (typeof VERBS)[number]

const NEXT: Record<State, readonly State[]> = {
  // Nothing has happened yet.
  created: ['waiting', 'concluded'],
  // The target is being connected, for the first time or again.
  waiting: ['running', 'concluded'],
  // Copying, and not so far that a switchover would be short.
  running: ['ready', 'waiting', 'concluded'],
  // A switchover would be short. Writes go on being mirrored or copied.
  ready: ['running', 'waiting', 'switchover', 'concluded'],
  // Clients are held, the last chunks are on their way. Whatever fails puts it back.
  switchover: ['running', 'waiting', 'concluded'],
  // The outcome says how. The filter passes everything through.
  concluded: [],
}

const ALLOWED: Record<Verb, readonly State[]> = {
  start: ['created'],
  set: ['created', 'running', 'ready', 'waiting', 'switchover'],
  cancel: ['created', 'running', 'ready', 'waiting', 'switchover'],
  complete: ['ready'],
  // Of clients that a completed switchover holds.
  resume: ['concluded'],
}

export function mayFollow(from: State, to: State): boolean {
  return NEXT[from].includes(to)
}

export function isAllowed(verb: Verb, state: State): boolean {
  return ALLOWED[verb].includes(state)
}
