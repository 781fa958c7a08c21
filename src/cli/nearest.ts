/** The word somebody probably meant, for the sentence about an unknown one. */

/** The closest of `known` if it is close enough to be a slip of the finger or of memory. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const scored = known.map(candidate => ({ candidate, edits: distance(word, candidate) }))
  const [best] = scored.sort((a, b) => a.edits - b.edits)
  if (best === undefined) return undefined
  const allowed = Math.max(1, Math.floor(Math.max(word.length, best.candidate.length) / 3))
  return best.edits <= allowed ? best.candidate : undefined
}

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
 */
function distance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= to.length; column += 1) {
      const isSame = from[row - 1] === to[column - 1]
      let edits = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (isSame ? 0 : 1),
      )
      const isSwap =
        row > 1 &&
        column > 1 &&
        from[row - 1] === to[column - 2] &&
        from[row - 2] === to[column - 1]
      if (isSwap) edits = Math.min(edits, beforeLast[column - 2]! + 1)
      current.push(edits)
    }
    beforeLast = last
    last = current
  }
  return last[to.length]!
}
