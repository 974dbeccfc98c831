import type { ConnectRouter } from "@connectrpc/connect";
import { validateReadWriteMaxBytes } from "@connectrpc/connect/protocol";
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import { forgetEndlessDeadline } from "../call/endless-deadline.ts";
import { ConnectionMemory } from "../http/connection-memory.ts";
import { discardUnreadBody } from "../http/unread-body.ts";
import { answerAtDeadline } from "./answer-at-deadline.ts";
import { boundAnswer } from "./bounded-answer.ts";
import { readMessages } from "./bounded-body.ts";
import { correctUnaryAnswers } from "./corrected-answer.ts";
import { guardErrors } from "./guard-errors.ts";

/** connect-node's adapter, with guards that keep one request from harming others. */
export function guardedConnectNodeAdapter(
  options: ConnectNodeAdapterOptions,
): ReturnType<typeof connectNodeAdapter> {
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
    forgetEndlessDeadline(request, options.maxTimeoutMs);
    discardUnreadBody(request, response);
    try {
      answer(request, response);
    } catch {
      // Host and path make no URL, and the adapter has answered nothing yet.
      response.writeHead(400, { "content-type": "text/plain; charset=utf-8" });
      response.end("bad request\n");
    }
  };
}
