import { type ConnectRouter, cors as connectCors, type Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import cors from "cors";
import { answerAtDeadline } from "./deadline-interceptor.ts";
import type { Listener } from "./port.ts";
import { type ProbeAnswer, probe } from "./probes.ts";
import type { Readiness } from "./readiness.ts";
import { discardUnreadBody } from "./unread-body.ts";

/** The largest message that is read, in bytes: gRPC's usual limit. */
const maxMessageBytes = 4 * 1024 * 1024;

/** The longest deadline that a call may set: no timer of Node runs for longer than these 24 days. */
const maxTimeoutMs = 2 ** 31 - 1;

type Request = Parameters<Listener>[0];
type Response = Parameters<Listener>[1];

interface ListenerOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly interceptors: Interceptor[];
  readonly readiness: Readiness;
  readonly corsOrigins: readonly string[];
}

/** Everything that the port answers: calls of all three protocols, preflights, probes, and 404. */
export function createListener({ routes, interceptors, readiness, corsOrigins }: ListenerOptions): Listener {
  const answerCall = connectNodeAdapter({
    routes,
    interceptors: [answerAtDeadline, ...interceptors],
    readMaxBytes: maxMessageBytes,
    maxTimeoutMs,
    fallback: answerPlainRequest(readiness),
  });
  if (corsOrigins.length === 0) return guard(answerCall);

  const allowOrigin = cors({
    origin: corsOrigins.includes("*") ? "*" : [...corsOrigins],
    methods: [...connectCors.allowedMethods],
    allowedHeaders: [...connectCors.allowedHeaders],
    exposedHeaders: [...connectCors.exposedHeaders],
    maxAge: 2 * 60 * 60,
  });
  return guard((request, response) => {
    allowOrigin(request, response, () => answerCall(request, response));
  });
}

/** Keeps one request from harming others. */
function guard(listener: Listener): Listener {
  return (request, response) => {
    discardUnreadBody(request, response);
    keepPrivate(request, response);
    try {
      listener(request, response);
    } catch {
      // Host and path make no URL, and the adapter has answered nothing yet.
      sendText(request, response, { status: 400, text: "bad request" });
    }
  };
}

/**
 * What is asked for by GET belongs to one learner, and can change at any time: a browser may keep it, if it asks again
 * each time. Answers are compressed by what the caller takes.
 */
function keepPrivate(request: Request, response: Response): void {
  if (request.method !== "GET") return;
  response.setHeader("cache-control", "private, no-cache");
  response.setHeader("vary", "accept-encoding");
}

function answerPlainRequest(readiness: Readiness): Listener {
  return (request, response) => {
    const url = URL.parse(request.url ?? "/", "http://localhost");
    const isRead = request.method === "GET" || request.method === "HEAD";
    const answer = url && isRead ? probe(url.pathname, readiness) : undefined;
    sendText(request, response, answer ?? { status: 404, text: "not found" });
  };
}

function sendText(request: Request, response: Response, { status, text }: ProbeAnswer): void {
  response.statusCode = status;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("cache-control", "no-store");
  response.end(request.method === "HEAD" ? "" : `${text}\n`);
}
