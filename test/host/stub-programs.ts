/** Small programs, first in PATH for the time of one test. */
import { chmodSync, writeFileSync } from 'node:fs'
import { type Temporary, temporary } from '../support/temporary.ts'

export interface Stubs extends Temporary {
  /** A shell script of that name. Every call appends its words to the file `calls`, one a line. */
  add(name: string, body: string): void
}

export async function stubPrograms(): Promise<Stubs> {
  const folder = await temporary()
  const { PATH = '' } = process.env
  process.env.PATH = `${folder.path}:${PATH}`
  return {
    ...folder,
    add: (name, body) => {
      const path = folder.file(name)
      const note = `for word in "$0" "$@"; do printf '%s|' "$word"; done >>"$FOLDER/calls"`
      const lines = [`#!/bin/sh`, `FOLDER='${folder.path}'`, note, `echo >>"$FOLDER/calls"`, body]
      writeFileSync(path, `${lines.join('\n')}\n`)
      chmodSync(path, 0o755)
    },
    [Symbol.asyncDispose]: async () => {
      process.env.PATH = PATH
      await folder[Symbol.asyncDispose]()
    },
  }
}
