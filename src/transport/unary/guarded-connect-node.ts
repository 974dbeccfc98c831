import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import { answerAtDeadline } from "./answer-at-deadline.ts";
import { discardUnreadBody } from "./unread-body.ts";

/** connect-node's adapter, with guards that keep one request from harming others. */
export function guardedConnectNodeAdapter(
  options: ConnectNodeAdapterOptions,
): ReturnType<typeof connectNodeAdapter> {
  const interceptors = [answerAtDeadline, ...(options.interceptors ?? [])];
  const answer = connectNodeAdapter({ ...options, interceptors });
  return (request, response) => {
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
