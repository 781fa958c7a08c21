/**
 * Chooses the engine at start. The choice is made once per thread; nothing above asks again.
 */
import type { Engine, EngineName } from './engine.ts'
import { LibuvEngine } from './libuv.ts'
import { UringEngine, type UringOptions, whyNoUring } from './uring.ts'

export type EngineChoice = 'auto' | EngineName

export interface OpenedEngine {
  readonly engine: Engine
  /** A sentence for the log. */
  readonly why: string
}

/**
 * `auto` takes io_uring where it works. Throws a sentence when `uring` is asked for and does not
 * work.
 */
export function openEngine(choice: EngineChoice, options: UringOptions = {}): OpenedEngine {
  if (choice === 'libuv') return { engine: new LibuvEngine(), why: 'libuv engine, as asked for' }
  const obstacle = whyNoUring()
  if (obstacle === undefined) {
    const why =
      choice === 'uring' ? 'uring engine, as asked for' : 'uring engine: io_uring works here'
    return { engine: new UringEngine(options), why }
  }
  if (choice === 'uring')
    throw new Error(`no uring engine: ${obstacle}; use --engine libuv or auto`)
  return { engine: new LibuvEngine(), why: `libuv engine: ${obstacle}` }
}
