import type { Interceptor } from "@connectrpc/connect";

/**
 * Answers a unary call once its deadline has passed or its caller is gone, even if what it began is not to be cut
 * off and goes on without it.
 */
export const answerAtDeadline: Interceptor = (next) => (request) =>
  request.stream ? next(request) : untilAborted(next(request), request.signal);

/** @throws the signal's reason if it aborts first */
async function untilAborted<Result>(result: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
