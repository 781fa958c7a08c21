/**
 * What the hotplug script runs where no daemon answers its quicker call, as `add XENBUS_PATH`. An
 * entry of its own, because the whole command line takes longer to load. One sentence on stderr and
 * 1 if it failed.
 */
import process from 'node:process'
import { callHotplug } from './hotplug-call.ts'

const [action = '', path = process.env.XENBUS_PATH ?? ''] = process.argv.slice(2)
try {
  await callHotplug(action, path)
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  process.stderr.write(`${message.replaceAll(/\s*\n\s*/g, ' ')}\n`)
  process.exitCode = 1
}
