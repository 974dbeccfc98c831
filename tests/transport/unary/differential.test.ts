import http from "node:http";
import http2 from "node:http2";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AdapterName, adapters } from "../../support/adapters.ts";
import { listenOnFreePort } from "../../support/free-port.ts";
import { effort, seed } from "../../support/random.ts";
import { echoInterceptor, echoRoutes } from "./echo-service.ts";
import { foundRequests } from "./found-requests.ts";
import { randomRequests } from "./random-requests.ts";
import { exchange, type Target } from "./wire-exchange.ts";
import { readMaxBytes } from "./wire-request.ts";

// The lean adapter answers every request, valid or invalid, as connect-node's adapter does.

const numRuns = 400 * effort;

const connectNode = useAdapter("connect-node");
const lean = useAdapter("lean");

test("the lean adapter answers random requests as connect-node does", {
  timeout: 40_000 * effort,
}, async () => {
  await fc.assert(
    fc.asyncProperty(randomRequests(), async (request) => {
      const ask = (timeoutMs: number) =>
        Promise.all([exchange(request, connectNode(), timeoutMs), exchange(request, lean(), timeoutMs)]);
      let [expected, actual] = await ask(60);
      // On a busy machine, a sender may time out before one of the answers arrives.
      if (!isDeepStrictEqual(actual, expected)) [expected, actual] = await ask(3_000);
      expect(actual).toEqual(expected);
    }),
    { numRuns, seed, examples: foundRequests.map((request): [typeof request] => [request]) },
  );
});

/** Serves the echo service over both versions of HTTP while the tests run. @returns a getter for its addresses */
function useAdapter(name: AdapterName): () => Target {
  const listeners = adapters[name]({
    routes: echoRoutes,
    interceptors: [echoInterceptor],
    readMaxBytes,
    maxTimeoutMs: 60_000,
    compressMinBytes: 600,
  });
  const http1 = http.createServer(listeners.request);
  const overHttp2 = http2.createServer().on("stream", listeners.stream);
  let http1Port = 0;
  let session: http2.ClientHttp2Session | undefined;

  beforeAll(async () => {
    http1Port = await listenOnFreePort(http1);
    session = http2.connect(`http://127.0.0.1:${await listenOnFreePort(overHttp2)}`);
  });
  afterAll(async () => {
    session?.destroy();
    http1.closeAllConnections();
    await Promise.all([http1, overHttp2].map((server) => new Promise((resolve) => server.close(resolve))));
  });
  return () => {
    if (session === undefined || session.destroyed) throw new Error("the HTTP/2 session is closed");
    return { http1Port, session };
  };
}
