/**
 * Checkers for what comes off the socket: each takes an unknown value and returns it typed, or
 * throws `ControlError` malformed with the field's path and what was expected. Objects are copied
 * field by field, so nothing that was not asked for gets through; unknown fields are errors, not
 * extras.
 */
import { ControlError } from './control-error.ts'

export interface Check<T> {
  readonly isOptional: boolean
  check(value: unknown, path: string): T
}

type Fields<T> = { readonly [K in keyof T]-?: Check<Exclude<T[K], undefined>> }

/** An object with exactly these fields. */
export function record<T extends object>(fields: Fields<T>): Check<T> {
  const entries = Object.entries<Check<unknown>>(fields)
  return required((value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw wrong(path, 'must be a map', value)
    }
    const given = new Map(Object.entries(value))
    const result: Record<string, unknown> = {}
    for (const [name, field] of entries) {
      const found = given.get(name)
      given.delete(name)
      if (found !== undefined) result[name] = field.check(found, `${path}.${name}`)
      else if (!field.isOptional) throw wrong(`${path}.${name}`, 'is missing')
    }
    const [unknownName] = given.keys()
    if (unknownName !== undefined) throw wrong(`${path}.${quoted(unknownName)}`, 'is unknown')
    return result as T
  })
}

/** The field may be left out. */
export function optional<T>(inner: Check<T>): Check<T> {
  return { isOptional: true, check: inner.check }
}

export function nullable<T>(inner: Check<T>): Check<T | null> {
  return required((value, path) => (value === null ? null : inner.check(value, path)))
}

/** An integer that a double holds exactly, `min` to `max` inclusive. */
export function integer(min = 0, max = Number.MAX_SAFE_INTEGER): Check<number> {
  return required((value, path) => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) {
      return value
    }
    throw wrong(path, `must be an integer from ${min} to ${max}`, value)
  })
}

/** A finite number, not negative; rates and times have fractions. */
export const quantity: Check<number> = required((value, path) => {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  throw wrong(path, 'must be a number, not negative', value)
})

export const flag: Check<boolean> = required((value, path) => {
  if (typeof value === 'boolean') return value
  throw wrong(path, 'must be true or false', value)
})

/** Text without NUL; `lengthMin` to `lengthMax` UTF-16 units. */
export function text(lengthMin = 0, lengthMax = 4096): Check<string> {
  return required((value, path) => {
    const fits =
      typeof value === 'string' &&
      value.length >= lengthMin &&
      value.length <= lengthMax &&
      !value.includes('\0')
    if (fits) return value
    throw wrong(path, `must be text of ${lengthMin} to ${lengthMax} characters`, value)
  })
}

export function oneOf<const T extends string>(choices: readonly T[]): Check<T> {
  return required((value, path) => {
    const found = choices.find(choice => choice === value)
    if (found !== undefined) return found
    throw wrong(path, `must be one of ${choices.join(', ')}`, value)
  })
}

/** A power of two, `min` to `max` inclusive. */
export function powerOfTwo(min: number, max: number): Check<number> {
  const inner = integer(min, max)
  return required((value, path) => {
    const number = inner.check(value, path)
    if (Number.isInteger(Math.log2(number))) return number
    throw wrong(path, 'must be a power of two', value)
  })
}

/** Any value; for the part of a message that another checker looks at later. */
export const anything: Check<unknown> = required(value => value)

function required<T>(check: (value: unknown, path: string) => T): Check<T> {
  return { isOptional: false, check }
}

function wrong(path: string, expected: string, value?: unknown): ControlError {
  const got = value === undefined ? '' : `, got ${quoted(value)}`
  return new ControlError('malformed', `${path} ${expected}${got}`)
}

/** Peer data in an error stays short and printable. */
function quoted(value: unknown): string {
  return (JSON.stringify(value) ?? typeof value).slice(0, 60)
}
