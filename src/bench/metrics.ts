/** What is measured: its unit, in which direction it is better, and how a value is written. */
import { formatDuration, formatRate, formatSize } from '../cli/units.ts'

export interface Metric {
  readonly label: string
  readonly better: 'higher' | 'lower'
  format(value: number): string
}

export const METRICS = {
  iops: { label: 'requests/s', better: 'higher', format: formatCount },
  rate: { label: 'bytes/s', better: 'higher', format: formatRate },
  p50: { label: 'p50 latency', better: 'lower', format: formatMicroseconds },
  p99: { label: 'p99 latency', better: 'lower', format: formatMicroseconds },
  'p99.9': { label: 'p99.9 latency', better: 'lower', format: formatMicroseconds },
  max: { label: 'max latency', better: 'lower', format: formatMicroseconds },
  'cpu/request': { label: 'CPU s per million requests', better: 'lower', format: formatSeconds },
  'cpu/GiB': { label: 'CPU s per GiB', better: 'lower', format: formatSeconds },
  time: { label: 'time', better: 'lower', format: formatMilliseconds },
  share: { label: 'share', better: 'higher', format: formatShare },
  factor: { label: 'factor', better: 'lower', format: value => value.toFixed(2) },
  bytes: { label: 'bytes', better: 'lower', format: formatSize },
  nanoseconds: { label: 'time each', better: 'lower', format: ns => formatMicroseconds(ns / 1000) },
} as const satisfies Record<string, Metric>

export type MetricName = keyof typeof METRICS

/** `12.3 k`, `1.2 M`: three digits that matter. */
export function formatCount(value: number): string {
  if (value >= 1e6) return `${threeDigits(value / 1e6)} M`
  if (value >= 1e3) return `${threeDigits(value / 1e3)} k`
  return threeDigits(value)
}

/** `850 ns`, `35 µs`, `1.20 ms`, `5.01 s`. */
export function formatMicroseconds(us: number): string {
  if (us < 1) return `${Math.round(us * 1000)} ns`
  if (us < 1000) return `${threeDigits(us)} µs`
  if (us < 1e6) return `${threeDigits(us / 1000)} ms`
  return `${threeDigits(us / 1e6)} s`
}

function formatMilliseconds(ms: number): string {
  return ms < 60_000 ? formatMicroseconds(ms * 1000) : formatDuration(ms)
}

function formatSeconds(seconds: number): string {
  return `${threeDigits(seconds)} s`
}

function formatShare(share: number): string {
  return `${Math.round(share * 100)} %`
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0)
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2)
}
