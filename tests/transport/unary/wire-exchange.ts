import http2 from "node:http2";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { WireRequest } from "./wire-request.ts";

/** The parts of an answer that a caller can observe. */
export interface WireAnswer {
  /** Undefined if the request was not answered. */
  readonly status: number | undefined;
  /** Sorted by name. */
  readonly headers: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
  /** The code of RST_STREAM, if a request over HTTP/2 was not answered. */
  readonly resetCode?: number | undefined;
}

/** A server: its port for HTTP/1.1, and a session for HTTP/2. */
export interface Target {
  readonly http1Port: number;
  readonly session: http2.ClientHttp2Session;
}

/**
 * Sends a request and receives its answer.
 *
 * @param timeoutMs how long a sender that does not complete its request waits for the answer before it gives up
 */
export function exchange(
  request: WireRequest,
  { http1Port, session }: Target,
  timeoutMs: number,
): Promise<WireAnswer> {
  return request.httpVersion === 1
    ? exchangeHttp1(request, http1Port, timeoutMs)
    : exchangeHttp2(request, session, timeoutMs);
}

async function exchangeHttp1(request: WireRequest, port: number, timeoutMs: number): Promise<WireAnswer> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const received: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => received.push(chunk));
  // A server may close the connection before it has read everything.
  socket.on("error", () => {});
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const { verb, path, headers, body, missingBytes } = request;
  const isChunked = missingBytes === undefined && body.length > 0;
  const framing = isChunked
    ? ["transfer-encoding: chunked"]
    : body.length > 0 || missingBytes
      ? [`content-length: ${body.length + (missingBytes ?? 0)}`]
      : [];
  const head = [
    `${verb} ${path} HTTP/1.1`,
    "host: localhost",
    "connection: close",
    ...framing,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  for (const part of split(request)) {
    socket.write(
      isChunked
        ? Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")])
        : part,
    );
    await sleep(0);
  }
  if (isChunked && request.ends) socket.write("0\r\n\r\n");
  const isWhole = !missingBytes && (request.ends || !isChunked);
  if (!isWhole) await Promise.race([closed, sleep(timeoutMs).then(() => socket.end())]);
  await closed;
  return parseHttp1(Buffer.concat(received));
}

async function exchangeHttp2(
  request: WireRequest,
  session: http2.ClientHttp2Session,
  timeoutMs: number,
): Promise<WireAnswer> {
  const { verb, path, headers, missingBytes, body } = request;
  const length = missingBytes === undefined ? [] : ["content-length", String(body.length + missingBytes)];
  const stream = session.request(
    [
      ":method",
      verb,
      ":scheme",
      "http",
      ":authority",
      "localhost",
      ":path",
      path,
      ...length,
      ...headers.flat(),
    ],
    { endStream: false },
  );
  const received: Buffer[] = [];
  let answer: (http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader) | undefined;
  let trailers: http2.IncomingHttpHeaders = {};
  stream.on("response", (head) => {
    answer = head;
  });
  stream.on("trailers", (tail) => {
    trailers = tail;
  });
  stream.on("data", (chunk: Buffer) => received.push(chunk));
  stream.on("error", () => {});
  const closed = new Promise((resolve) => stream.once("close", resolve));
  stream.once("end", () => {
    // The answer is complete, so the rest of the request need not be sent.
    stream.close();
  });
  for (const part of split(request)) {
    if (!stream.writable) break;
    stream.write(part);
    await sleep(0);
  }
  if (!request.ends || missingBytes) await Promise.race([closed, sleep(timeoutMs)]);
  if (request.ends) stream.end();
  else stream.close(http2.constants.NGHTTP2_CANCEL);
  await closed;
  return {
    status: answer?.[":status"],
    headers: sorted(Object.entries(answer ?? {})),
    body: Buffer.concat(received).toString("latin1"),
    trailers: sorted(Object.entries(trailers)),
    resetCode: answer ? undefined : stream.rstCode,
  };
}

function split({ body, parts }: WireRequest): Buffer[] {
  const size = Math.max(1, Math.ceil(body.length / parts));
  return Array.from({ length: Math.ceil(body.length / size) }, (_, index) =>
    body.subarray(index * size, (index + 1) * size),
  );
}

/** Parses the last answer in the bytes that a connection received until it was closed. */
function parseHttp1(received: Buffer): WireAnswer {
  const text = received.toString("latin1");
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return { status: undefined, headers: [], body: text, trailers: [] };
  const [statusLine = "", ...fields] = text.slice(0, headEnd).split("\r\n");
  const status = Number(statusLine.split(" ")[1]);
  const rest = text.slice(headEnd + 4);
  // "100 Continue" precedes the answer.
  if (status < 200) return parseHttp1(Buffer.from(rest, "latin1"));
  const headers = fields.map(splitField);
  const isChunked = headers.some(([name]) => name === "transfer-encoding");
  const { body, trailers } = isChunked ? parseChunks(rest) : { body: rest, trailers: [] };
  return { status, headers: sorted(headers), body, trailers: sorted(trailers) };
}

function parseChunks(text: string): { body: string; trailers: Field[] } {
  let body = "";
  let start = 0;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", start);
    if (lineEnd < 0) return { body: `${body} (cut off)`, trailers: [] };
    const size = Number.parseInt(text.slice(start, lineEnd), 16);
    start = lineEnd + 2;
    if (size === 0) break;
    body += text.slice(start, start + size);
    start += size + 2;
  }
  const trailers = text.slice(start).split("\r\n").filter(Boolean).map(splitField);
  return { body, trailers };
}

type Field = readonly [name: string, value: unknown];

function splitField(line: string): Field {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

/** Headers that may differ: the time, and those that mark the end of the body. (The body itself is compared.) */
const ignoredHeaders = ["date", "transfer-encoding", "content-length"];

function sorted(fields: readonly Field[]): string[] {
  return fields
    .filter(([name]) => !ignoredHeaders.includes(name))
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
}
