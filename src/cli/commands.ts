/** All commands, in the order in which help lists them. */
import { channelCommand, relayCommand, relayReceiveCommand } from './between-hosts.ts'
import type { Command } from './command.ts'
import { daemonCommand } from './daemon.ts'
import { doctorCommand } from './doctor.ts'
import { hotplugCommand } from './hotplug.ts'
import { migrateCommand } from './migrate.ts'
import { mirrorCancelCommand } from './mirror-cancel.ts'
import { mirrorCompleteCommand } from './mirror-complete.ts'
import { mirrorResumeCommand } from './mirror-resume.ts'
import { mirrorSetCommand } from './mirror-set.ts'
import { mirrorStartCommand } from './mirror-start.ts'
import { mirrorStatusCommand } from './mirror-status.ts'
import { mirrorWaitCommand } from './mirror-wait.ts'
import { serveCommand } from './serve.ts'
import { cancelCommand, claimCommand, releaseCommand, resolveCommand } from './session-commands.ts'
import { statusCommand } from './status.ts'

export const COMMANDS: readonly Command[] = [
  migrateCommand,
  statusCommand,
  cancelCommand,
  resolveCommand,
  releaseCommand,
  claimCommand,
  doctorCommand,
  daemonCommand,
  hotplugCommand,
  channelCommand,
  relayCommand,
  relayReceiveCommand,
  serveCommand,
  mirrorStartCommand,
  mirrorStatusCommand,
  mirrorWaitCommand,
  mirrorSetCommand,
  mirrorCompleteCommand,
  mirrorResumeCommand,
  mirrorCancelCommand,
]

/** First words that other words follow; the empty one is `blkferry` itself. */
export const GROUPS: readonly string[] = ['', 'mirror']
