import type { HandlerContext } from "@connectrpc/connect";

type AbortListener = (reason: unknown) => void;

/**
 * The part of Connect's HandlerContext that handlers use. Read `signal` only where {@link onAbort} is not enough: the
 * lean unary path creates it on first access, which is expensive. The signal aborts when the caller no longer waits for
 * an answer.
 */
export interface CallContext extends Pick<HandlerContext, "signal"> {
  /** A cheaper way to learn of the abort, which only the contexts of the lean unary path have. */
  readonly onAbort?: (listener: AbortListener) => void;
}

/**
 * Calls a function when the caller no longer waits for an answer, with the reason of the signal. If the call has already
 * been aborted, calls it at once. The function stays registered until the call ends.
 */
export function onAbort(context: CallContext, listener: AbortListener): void {
  if (context.onAbort) {
    context.onAbort(listener);
    return;
  }
  const { signal } = context;
  if (signal.aborted) listener(signal.reason);
  else signal.addEventListener("abort", () => listener(signal.reason), { once: true });
}
