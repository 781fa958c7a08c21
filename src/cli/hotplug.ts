/** `blkferry hotplug`: what the hotplug script does, by hand. */
import { defineCommand } from './command.ts'
import { EXIT } from './exit-codes.ts'
import { callHotplug } from './hotplug-call.ts'

export const hotplugCommand = defineCommand({
  name: 'hotplug',
  summary: 'give a guest its disk, or take it (libxl’s hotplug script does this)',
  positionals: [
    { name: 'ACTION', help: 'add or remove' },
    { name: 'PATH', help: 'the disk’s backend in xenstore, libxl’s XENBUS_PATH' },
  ],
  options: {},
  examples: ['blkferry hotplug add backend/vbd/3/51712'],
  run: async (_values, { output }, [action = '', path = '']) => {
    await callHotplug(action, path)
    output.result({ action, path }, `${action} ${path}: done`)
    return EXIT.ok
  },
})
