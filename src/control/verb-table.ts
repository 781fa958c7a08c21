/**
 * What a control socket can be asked, as a table: each verb with the checks of its parameters and
 * of its result. Client and server are made for a table, so that the proxy and the daemon share all
 * of the protocol but their verbs.
 */
import { ControlError } from './control-error.ts'
import type { Check } from './fields.ts'

interface VerbType {
  readonly params: object
  readonly result: object
}

/** An interface that has parameters and result for each verb. */
export type VerbTypes<V> = { readonly [N in keyof V]: VerbType }

/** Name of a verb. */
export type NameOf<V> = keyof V & string

export type VerbTable<V extends VerbTypes<V>> = {
  readonly [N in keyof V]: {
    readonly params: Check<V[N]['params']>
    readonly result: Check<V[N]['result']>
  }
}

export function verbsOf<V extends VerbTypes<V>>(table: VerbTable<V>): readonly NameOf<V>[] {
  return Object.keys(table) as NameOf<V>[]
}

export function isVerbOf<V extends VerbTypes<V>>(
  table: VerbTable<V>,
  name: string,
): name is NameOf<V> {
  return Object.hasOwn(table, name)
}

/** Throws `ControlError` malformed. */
export function checkParamsOf<V extends VerbTypes<V>, N extends NameOf<V>>(
  table: VerbTable<V>,
  verb: N,
  params: unknown,
): V[N]['params'] {
  return table[verb].params.check(params, verb)
}

/** Throws `ControlError` malformed. */
export function checkResultOf<V extends VerbTypes<V>, N extends NameOf<V>>(
  table: VerbTable<V>,
  verb: N,
  result: unknown,
): V[N]['result'] {
  return table[verb].result.check(result, `result of ${verb}`)
}

/** For the serving side: parameters that are wrong are the caller's mistake. */
export function acceptParams<V extends VerbTypes<V>, N extends NameOf<V>>(
  table: VerbTable<V>,
  verb: N,
  params: unknown,
): V[N]['params'] {
  try {
    return checkParamsOf(table, verb, params)
  } catch (error) {
    if (!(error instanceof ControlError)) throw error
    throw ControlError.refuse('invalid', error.message)
  }
}
