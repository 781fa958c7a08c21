/** Tables for a terminal: columns as wide as their widest cell, numbers to the right. Pure. */

/** The first column is text, all others are numbers. Lines have no spaces at their ends. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) =>
    Math.max(...all.map(row => [...(row[column] ?? '')].length)),
  )
  const line = (row: readonly string[]): string =>
    widths
      .map((width, column) => pad(row[column] ?? '', width, column === 0))
      .join('  ')
      .trimEnd()
  return [line(head), widths.map(width => '─'.repeat(width)).join('  '), ...rows.map(line)].join(
    '\n',
  )
}

function pad(text: string, width: number, isLeft: boolean): string {
  const space = ' '.repeat(width - [...text].length)
  return isLeft ? text + space : space + text
}

/** Lines of at most `width` characters. */
export function wrap(text: string, width = 100): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line].join('\n')
}
