/** The checks of the daemon's verbs; `messages.ts` says what they mean. */
import { flag, integer, nullable, oneOf, optional, record, text } from '../control/fields.ts'
import { list, texts } from '../control/list.ts'
import { nothing, WAIT_MS_MAX } from '../control/messages.ts'
import { COPY_MODE_CHOICES } from '../control/status.ts'
import type { VerbTable } from '../control/verb-table.ts'
import { OUTCOMES, type Outcome, WORDS } from '../migration/phases.ts'
import type { ConfigDisk, ConfiguredGuest } from '../migration/xl-config.ts'
import {
  type DaemonVerbs,
  DESTINATION_QUESTIONS,
  FINDINGS_MAX,
  LIST_MAX,
  type MigrateStartParams,
  type Prepared,
  type PrepareParams,
  type RelayRoute,
  type Session,
  SOURCE_QUESTIONS,
  type SshAccess,
} from './messages.ts'
import {
  diskName,
  diskRole,
  finding,
  SESSION_DISKS_MAX,
  SIDES,
  sessionName,
  sessionStatus,
  sessionSummary,
} from './session-status.ts'

const session = record<Session>({ session: sessionName })
const path = record<{ path: string }>({ path: text(1, 256) })
const word = text(0, 1024)
const ssh = record<SshAccess>({ environment: texts(4096, 32), options: list(word, 32) })
const disk = record<{ disk: string }>({ disk: diskName })
const findings = list(finding, FINDINGS_MAX)
const host = text(1, 256)

export const daemonVerbs: VerbTable<DaemonVerbs> = {
  'host-status': {
    params: nothing,
    result: record<DaemonVerbs['host-status']['result']>({
      version: text(1, 64),
      pid: integer(1),
      host,
      sessions: integer(),
    }),
  },
  'hotplug-add': { params: path, result: record<{ device: string }>({ device: text(1) }) },
  'hotplug-remove': { params: path, result: nothing },
  'migrate-start': {
    params: record<MigrateStartParams>({
      domain: text(1, 256),
      host,
      ssh,
      address: optional(text(1, 256)),
      copyMode: oneOf(COPY_MODE_CHOICES),
      bandwidth: integer(),
      stallMs: integer(1, 3_600_000),
      reconnectSeconds: integer(0, WAIT_MS_MAX / 1000),
      xlOptions: list(word, 64),
      targets: optional(
        list(
          record<{ vdev: string; target: string }>({ vdev: text(1, 64), target: diskName }),
          SESSION_DISKS_MAX,
        ),
      ),
      isInsecure: flag,
      isTunnelled: optional(flag),
    }),
    result: sessionStatus,
  },
  'session-list': {
    params: nothing,
    result: record<DaemonVerbs['session-list']['result']>({
      sessions: list(sessionSummary, LIST_MAX),
    }),
  },
  'session-status': { params: session, result: sessionStatus },
  'session-cancel': { params: session, result: sessionStatus },
  'session-resolve': {
    params: record<DaemonVerbs['session-resolve']['params']>({
      session: sessionName,
      force: nullable(oneOf(['source-owns', 'destination-owns'])),
      ssh: optional(ssh),
    }),
    result: sessionStatus,
  },
  'disk-list': {
    params: record<{ after: string }>({ after: text(0, 256) }),
    result: record<DaemonVerbs['disk-list']['result']>({
      disks: list(diskRole, LIST_MAX),
      isWhole: flag,
    }),
  },
  'disk-release': { params: disk, result: diskRole },
  'disk-claim': { params: disk, result: diskRole },
  doctor: {
    params: record<DaemonVerbs['doctor']['params']>({
      host: optional(host),
      domain: optional(text(1, 256)),
      ssh: optional(ssh),
      disks: optional(
        list(
          record<{ disk: string; size: number; blockSize: number }>({
            disk: diskName,
            size: integer(1),
            blockSize: integer(512, 4096),
          }),
          SESSION_DISKS_MAX,
        ),
      ),
      memoryMiB: optional(integer(0)),
      isTrial: optional(flag),
    }),
    result: record<DaemonVerbs['doctor']['result']>({
      here: findings,
      there: findings,
      port: optional(integer(1, 65_535)),
    }),
  },
  'relay-attend': {
    params: record<DaemonVerbs['relay-attend']['params']>({
      session: sessionName,
      side: oneOf(SIDES),
      pid: integer(1),
      xlPid: nullable(integer(1)),
    }),
    result: nothing,
  },
  'relay-progress': {
    params: record<{ session: string; sentBytes: number }>({
      session: sessionName,
      sentBytes: integer(),
    }),
    result: nothing,
  },
  'relay-source': {
    params: record<DaemonVerbs['relay-source']['params']>({
      session: sessionName,
      question: oneOf(SOURCE_QUESTIONS),
      problem: optional(text(1)),
    }),
    result: record<{ outcome: Outcome | null }>({ outcome: nullable(oneOf(OUTCOMES)) }),
  },
  'relay-destination': {
    params: record<DaemonVerbs['relay-destination']['params']>({
      session: sessionName,
      question: oneOf(DESTINATION_QUESTIONS),
    }),
    result: nothing,
  },
  'relay-route': {
    params: record<DaemonVerbs['relay-route']['params']>({
      session: sessionName,
      words: list(word, 64),
    }),
    result: record<RelayRoute>({
      argv: list(text(), 128),
      guest: record<ConfiguredGuest>({
        domain: text(1, 256),
        disks: list(
          record<ConfigDisk>({
            vdev: text(1, 64),
            target: diskName,
            script: optional(text(1, 64)),
          }),
          SESSION_DISKS_MAX,
        ),
        readOnly: list(text(1, 64), LIST_MAX),
      }),
    }),
  },
  'peer-prepare': {
    params: record<PrepareParams>({
      session: sessionName,
      domain: text(1, 256),
      source: host,
      key: text(0, 256),
      disks: list(
        record<PrepareParams['disks'][number]>({
          vdev: text(1, 64),
          disk: diskName,
          size: integer(1),
          blockSize: integer(512, 4096),
          epoch: integer(1),
        }),
        SESSION_DISKS_MAX,
      ),
    }),
    result: record<Prepared>({
      exports: list(
        record<Prepared['exports'][number]>({ port: integer(1, 65535), name: text(1, 256) }),
        SESSION_DISKS_MAX,
      ),
    }),
  },
  'peer-wait': {
    params: record<DaemonVerbs['peer-wait']['params']>({
      session: sessionName,
      timeoutMs: integer(1, 60_000),
    }),
    result: record<DaemonVerbs['peer-wait']['result']>({
      want: nullable(oneOf(['seal'])),
      isOver: flag,
    }),
  },
  'peer-sealed': {
    params: record<DaemonVerbs['peer-sealed']['params']>({
      session: sessionName,
      error: nullable(text(1)),
    }),
    result: nothing,
  },
  'peer-word': {
    params: record<DaemonVerbs['peer-word']['params']>({
      session: sessionName,
      disks: list(
        record<{ disk: string; epoch: number }>({ disk: diskName, epoch: integer() }),
        SESSION_DISKS_MAX,
      ),
    }),
    result: record<DaemonVerbs['peer-word']['result']>({
      word: oneOf(WORDS),
      advice: optional(text(1)),
    }),
  },
}
