import { type ConnectRouter, cors as connectCors, type Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import cors from "cors";
import type { Listener } from "./port.ts";
import { probe } from "./probes.ts";
import type { Readiness } from "./readiness.ts";

/** The largest message that is read, in bytes: gRPC's usual limit. */
const maxMessageBytes = 4 * 1024 * 1024;

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
    interceptors,
    readMaxBytes: maxMessageBytes,
    fallback: answerPlainRequest(readiness),
  });
  if (corsOrigins.length === 0) return answerCall;

  const allowOrigin = cors({
    origin: corsOrigins.includes("*") ? "*" : [...corsOrigins],
    methods: [...connectCors.allowedMethods],
    allowedHeaders: [...connectCors.allowedHeaders],
    exposedHeaders: [...connectCors.exposedHeaders],
    maxAge: 2 * 60 * 60,
  });
  return (request, response) => {
    allowOrigin(request, response, () => answerCall(request, response));
  };
}

function answerPlainRequest(readiness: Readiness): Listener {
  return (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const isRead = request.method === "GET" || request.method === "HEAD";
    const answer = (isRead && probe(pathname, readiness)) || { status: 404, text: "not found" };
    response.statusCode = answer.status;
    response.setHeader("content-type", "text/plain; charset=utf-8");
    response.setHeader("cache-control", "no-store");
    response.end(request.method === "HEAD" ? "" : `${answer.text}\n`);
  };
}
