/** SVG as text: elements, and the scales of plots. Pure. */

export type Attributes = Readonly<Record<string, string | number>>

/** An element; children are SVG already, text must come through `escapeText`. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const words = Object.entries(attributes).map(([key, value]) => {
    const text = typeof value === 'number' ? String(Math.round(value * 100) / 100) : value
    return ` ${key}="${escapeText(text)}"`
  })
  const inner = children.join('')
  return inner === ''
    ? `<${name}${words.join('')}/>`
    : `<${name}${words.join('')}>${inner}</${name}>`
}

export function escapeText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** From values to pixels. */
export type Scale = (value: number) => number

export function linear(
  [from, to]: readonly [number, number],
  [start, end]: readonly [number, number],
): Scale {
  const span = to - from || 1
  return value => start + ((value - from) / span) * (end - start)
}

export function logarithmic(
  domain: readonly [number, number],
  range: readonly [number, number],
): Scale {
  const scale = linear([Math.log(domain[0]), Math.log(domain[1])], range)
  return value => scale(Math.log(value))
}

/** Round numbers from 0 to at least `max`, about `count` steps. */
export function ticks(max: number, count: number, base: 10 | 1024 = 10): number[] {
  if (!(max > 0)) return [0]
  const unit = base === 10 ? 1 : 1024 ** Math.floor(Math.log(max) / Math.log(1024))
  const rough = max / unit / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(factor => factor * power).find(each => each >= rough)! * unit
  const steps = Math.ceil(max / step - 1e-9)
  return Array.from({ length: steps + 1 }, (_, index) => index * step)
}

/** Powers of ten from at or below `min` to at or above `max`, both above 0. */
export function powersOfTen(min: number, max: number): number[] {
  const first = Math.floor(Math.log10(min) + 1e-9)
  const last = Math.max(first + 1, Math.ceil(Math.log10(max) - 1e-9))
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index))
}
