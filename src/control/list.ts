/** A checker for lists; see `fields.ts`. */
import { ControlError } from './control-error.ts'
import type { Check } from './fields.ts'

/** At most `lengthMax` items, each checked. */
export function list<T>(item: Check<T>, lengthMax: number): Check<readonly T[]> {
  return {
    isOptional: false,
    check: (value, path) => {
      if (!Array.isArray(value) || value.length > lengthMax) {
        throw new ControlError('malformed', `${path} must be a list of ${lengthMax} at most`)
      }
      return value.map((one: unknown, index) => item.check(one, `${path}[${index}]`))
    },
  }
}

/** Text by text: at most `countMax` entries. */
export function texts(
  lengthMax: number,
  countMax: number,
): Check<Readonly<Record<string, string>>> {
  return {
    isOptional: false,
    check: (value, path) => {
      const entries =
        typeof value === 'object' && value !== null && !Array.isArray(value)
          ? Object.entries(value)
          : undefined
      const isFine =
        entries !== undefined &&
        entries.length <= countMax &&
        entries.every(([, one]) => typeof one === 'string' && one.length <= lengthMax)
      if (isFine) return Object.fromEntries(entries) as Record<string, string>
      throw new ControlError('malformed', `${path} must be up to ${countMax} short texts by name`)
    },
  }
}
