/** stub */
import type { Run } from '../results.ts'
export function pageOf(run: Run): string {
  return JSON.stringify(run)
}
