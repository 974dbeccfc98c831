import type { ConnectRouter, Interceptor } from "@connectrpc/connect";
import { validateReadWriteMaxBytes } from "@connectrpc/connect/protocol";
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import { removeLongDeadline } from "../call/long-deadline.ts";
import { ConnectionMemory } from "../http/connection-memory.ts";
import type { RequestListener } from "../http/listeners.ts";
import { discardUnreadBody } from "../http/unread-body.ts";
import { boundAnswer } from "./bounded-answer.ts";
import { readMessages } from "./bounded-body.ts";
import { correctUnaryAnswers } from "./corrected-answer.ts";
import { guardErrors } from "./guard-errors.ts";

/** connect-node's adapter with guards, so that one request cannot harm others. */
export function guardedConnectNodeAdapter(options: ConnectNodeAdapterOptions): RequestListener {
  const interceptors = [answerAtDeadline, guardErrors, ...(options.interceptors ?? [])];
  const routes = (router: ConnectRouter) => {
    options.routes(router);
    correctUnaryAnswers(router);
  };
  const answer = connectNodeAdapter({ ...options, interceptors, routes });
  const { readMaxBytes } = validateReadWriteMaxBytes(options.readMaxBytes, undefined, undefined);
  return (request, response) => {
    const connection = "stream" in request ? request.stream.session : request.socket;
    const [received, sent] = [new ConnectionMemory(connection), new ConnectionMemory(connection)];
    response.once("close", () => {
      received.release();
      sent.release();
    });
    request[Symbol.asyncIterator] = () => readMessages(request, received, readMaxBytes);
    boundAnswer(response, sent);
    removeLongDeadline(request, options.maxTimeoutMs);
    discardUnreadBody(request, response);
    try {
      answer(request, response);
    } catch {
      // The host and the path do not form a valid URL. The adapter has not sent anything yet.
      response.writeHead(400, { "content-type": "text/plain; charset=utf-8" });
      response.end("bad request\n");
    }
  };
}

/**
 * Ends a unary call when its deadline passes or its peer disconnects, even if the handler ignores its signal. Such a
 * handler continues in the background.
 */
const answerAtDeadline: Interceptor = (next) => (request) =>
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
