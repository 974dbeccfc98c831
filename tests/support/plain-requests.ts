import { Agent, request as requestHttp1 } from "node:http";
import http2 from "node:http2";
import { buffer } from "node:stream/consumers";
import { onTestFinished } from "vitest";

/** The answer to a request of a plain HTTP client. */
export interface PlainAnswer {
  readonly status: number | undefined;
  /** The headers without `date`, which changes with time. */
  readonly headers: Readonly<Record<string, unknown>>;
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

export interface PlainRequest {
  readonly method?: string;
  readonly path: string;
  /** A list is sent as one header for each of its values. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  /** The chunks in which the body is sent. */
  readonly body?: readonly Uint8Array[];
  /** Over HTTP/2: ends the body only after the answer has arrived. */
  readonly endless?: boolean;
}

/** Sends a request over a new HTTP/2 connection. */
export async function askHttp2(url: string, request: PlainRequest): Promise<PlainAnswer> {
  const { method = "POST", path, headers = {}, body = [], endless = false } = request;
  const session = http2.connect(url);
  try {
    const stream = session.request({ ...headers, ":method": method, ":path": path }, { endStream: false });
    let received: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    stream.once("response", (given) => {
      received = { ...given };
    });
    stream.once("trailers", (given) => {
      trailers = { ...given };
    });
    if (endless) stream.once("trailers", () => stream.end());
    // Each chunk in a separate frame.
    for (const chunk of body) await new Promise((written) => stream.write(chunk, written));
    if (!endless) stream.end();
    const answer = await buffer(stream);
    const { ":status": status, date: _, ...others } = received;
    return { status: Number(status), headers: others, trailers, body: answer };
  } finally {
    session.destroy();
  }
}

/** Sends a request over HTTP/1.1. Requests of one agent share a connection, which is closed when the test finishes. */
export function askHttp1(
  url: string,
  { method = "POST", path, headers = {}, body = [] }: PlainRequest,
  agent = ownAgent(),
): Promise<PlainAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<PlainAnswer>();
  const request = requestHttp1(new URL(path, url), { method, headers, agent }, async (response) => {
    const answer = await buffer(response);
    const { date: _, ...received } = response.headers;
    const { statusCode: status, trailers } = response;
    resolve({ status, headers: received, trailers, body: answer });
  });
  request.once("error", reject);
  for (const chunk of body) request.write(chunk);
  request.end();
  return promise;
}

export function ownAgent(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  return agent;
}
