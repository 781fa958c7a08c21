/**
 * Where a command's words go: results and updates to stdout, as text or as one JSON document a
 * line; the one sentence of a failure to stderr, or with `--json` to stdout. On a terminal updates
 * are drawn over each other in one line, which a result or failure leaves behind it.
 */
import { type ExitCode, exitWord } from './exit-codes.ts'

export interface Stream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export class Output {
  readonly isJson: boolean
  /** Updates are redrawn in place, so there may be many. */
  readonly isRedrawn: boolean
  /** For logs; a JSON line each. */
  readonly stderr: Stream
  readonly #stdout: Stream
  #isLineOpen = false

  constructor(streams: { stdout: Stream; stderr: Stream }, { isJson }: { isJson: boolean }) {
    this.#stdout = streams.stdout
    this.stderr = streams.stderr
    this.isJson = isJson
    this.isRedrawn = !isJson && streams.stdout.isTTY === true
  }

  /** The outcome of a command: `json` or `text`, whichever was asked for. */
  result(json: object, text: string): void {
    this.#finishLine()
    this.#stdout.write(`${this.isJson ? JSON.stringify(json) : text}\n`)
  }

  /** How things stand meanwhile; several may follow. */
  update(json: object, line: string): void {
    if (!this.isRedrawn) {
      this.result(json, line)
      return
    }
    // Column one, the line, and nothing left of a longer one before it.
    this.#stdout.write(`\r${line.slice(0, (this.#stdout.columns ?? 80) - 1)}\u001b[K`)
    this.#isLineOpen = true
  }

  /** A sentence on the way, on stderr: the command goes on. */
  note(message: string): void {
    this.#finishLine()
    this.stderr.write(this.isJson ? `${JSON.stringify({ note: message })}\n` : `${message}\n`)
  }

  failure(exitCode: ExitCode, message: string): void {
    const sentence = message.replaceAll(/\s*\n\s*/g, ' ')
    this.#finishLine()
    if (!this.isJson) {
      this.stderr.write(`blkferry: ${sentence}\n`)
      return
    }
    const error = { exitCode, kind: exitWord(exitCode), message: sentence }
    this.#stdout.write(`${JSON.stringify({ error })}\n`)
  }

  /** Ends an update line that is still being redrawn. */
  #finishLine(): void {
    if (this.#isLineOpen) this.#stdout.write('\n')
    this.#isLineOpen = false
  }
}
