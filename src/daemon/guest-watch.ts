/**
 * Whether a guest is still there. Its hotplug script tells us, if that is ours; the stock one does
 * not.
 */
import type { SessionContext } from './session-context.ts'

export interface WatchingSession {
  /** Settles at its end, and never rejects. */
  readonly finished: Promise<void>
  abort(problem: string): void
}

/** Ends a session in favour of the source as soon as its guest is gone. */
export function watchGuest(
  { host, log }: SessionContext,
  domid: number,
  session: WatchingSession,
): void {
  const path = `/local/domain/${domid}/name`
  const look = async (): Promise<void> => {
    const name = await host.xenstore.read(path)
    if (name === undefined) session.abort('the guest was shut down, rebooted or destroyed')
  }
  const failed = (error: unknown): void => log.warn({ err: error }, 'the guest cannot be watched')
  const watch = host.xenstore.watch(path, () => void look().catch(failed))
  void session.finished.then(() => watch.close()).catch(failed)
}
