/**
 * The options of a command as a table. One entry is all that parsing, `--help` and the reference
 * know of an option, so what is accepted is what is documented.
 */
import { parseNbdUri } from 'nbd-client-ts'
import { UsageError } from './exit-codes.ts'
import { parseRate, parseSize } from './units.ts'

export interface Option<T> {
  /** What stands for the value in help; null for a flag, which has none. */
  readonly placeholder: string | null
  readonly help: string
  readonly isRequired: boolean
  readonly isRepeatable: boolean
  /** Parsed as if given, when the option is not. */
  readonly fallback: string | undefined
  /** The value of all that was given, in order; `name` is for the error. Throws `UsageError`. */
  read(given: readonly string[], name: string): T
}

export type Options = Readonly<Record<string, Option<unknown>>>
export type Values<O extends Options> = {
  readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never
}

/** Reads one value; undefined, or a SyntaxError with the reason, means that the text is none. */
interface Kind<T> {
  readonly placeholder: string
  readonly expected: string
  parse(text: string): T | undefined
}

export const size: Kind<number> = {
  placeholder: 'SIZE',
  expected: 'a size such as 512, 64K or 1GiB',
  parse: parseSize,
}

export const rate: Kind<number> = {
  placeholder: 'RATE',
  expected: 'a rate such as 100M (MiB/s) or 800Mbit',
  parse: parseRate,
}

export const seconds: Kind<number> = {
  placeholder: 'S',
  expected: 'seconds, above 0 and at most 86400',
  parse: text => within(text, /^\d+(\.\d+)?$/, 0.001, 86_400),
}

export const nbdUri: Kind<string> = {
  placeholder: 'URI',
  expected: 'an NBD URI such as nbd://host:10809/export or nbd+unix:///export?socket=/path',
  parse: given => {
    parseNbdUri(given)
    return given
  },
}

/** The same, and port 0 for any free one, which nobody could connect to. */
export const listenUri: Kind<string> = {
  ...nbdUri,
  parse: given => {
    parseNbdUri(given.replace(/^([a-z]+:\/\/[^/?#]*):0(?=[/?]|$)/i, '$1'))
    return given
  },
}

export function text(placeholder: string): Kind<string> {
  return {
    placeholder,
    expected: 'text of 1 to 4096 characters',
    parse: given =>
      given.length > 0 && given.length <= 4096 && !given.includes('\0') ? given : undefined,
  }
}

/** An NBD string: any text, also an empty one, that the protocol can carry. */
export function nbdText(placeholder: string): Kind<string> {
  return {
    placeholder,
    expected: 'at most 4096 bytes of text',
    parse: given => (Buffer.byteLength(given) <= 4096 && !given.includes('\0') ? given : undefined),
  }
}

export function integer(min: number, max: number): Kind<number> {
  return {
    placeholder: 'N',
    expected: `a whole number from ${min} to ${max}`,
    parse: given => within(given, /^\d+$/, min, max),
  }
}

export function choice<const T extends string>(choices: readonly T[]): Kind<T> {
  return {
    placeholder: choices.join('|'),
    expected: `one of ${choices.join(', ')}`,
    parse: given => choices.find(known => known === given),
  }
}

export function flag(help: string): Option<boolean> {
  const shape = { isRequired: false, isRepeatable: false, fallback: undefined }
  return { placeholder: null, help, ...shape, read: given => given.length > 0 }
}

export function required<T>(kind: Kind<T>, help: string): Option<T> {
  return single(kind, help, { isRequired: true, fallback: undefined })
}

export function withDefault<T>(kind: Kind<T>, fallback: string, help: string): Option<T> {
  return single(kind, help, { isRequired: false, fallback })
}

export function optional<T>(kind: Kind<T>, help: string): Option<T | undefined> {
  return {
    ...single(kind, help, { isRequired: false, fallback: undefined }),
    read: (given, name) => (given[0] === undefined ? undefined : readOne(kind, given[0], name)),
  }
}

/** At least one, all of them kept in order. */
export function repeated<T>(kind: Kind<T>, help: string): Option<readonly T[]> {
  const shape = { isRequired: true, isRepeatable: true, fallback: undefined }
  const read = (given: readonly string[], name: string) =>
    given.map(value => readOne(kind, value, name))
  return { placeholder: kind.placeholder, help, ...shape, read }
}

/** None, one or several, all of them kept in order. */
export function several<T>(kind: Kind<T>, help: string): Option<readonly T[]> {
  return { ...repeated(kind, help), isRequired: false }
}

function single<T>(
  kind: Kind<T>,
  help: string,
  shape: { readonly isRequired: boolean; readonly fallback: string | undefined },
): Option<T> {
  const read = (given: readonly string[], name: string) => readOne(kind, given[0] ?? '', name)
  return { placeholder: kind.placeholder, help, isRepeatable: false, ...shape, read }
}

function readOne<T>(kind: Kind<T>, given: string, name: string): T {
  const value = parse(kind, given, name)
  if (value !== undefined) return value
  throw new UsageError(`--${name} must be ${kind.expected}, not ${JSON.stringify(given)}`)
}

/** What a kind's own parser says is wrong becomes a sentence about the option. */
function parse<T>(kind: Kind<T>, given: string, name: string): T | undefined {
  try {
    return kind.parse(given)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new UsageError(`--${name} must be ${kind.expected}: ${error.message}`)
  }
}

function within(given: string, form: RegExp, min: number, max: number): number | undefined {
  const value = Number(given)
  return form.test(given) && value >= min && value <= max ? value : undefined
}
