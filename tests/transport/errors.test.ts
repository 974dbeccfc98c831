import { randomUUID } from "node:crypto";
import http2 from "node:http2";
import { create } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { Code, createClient, type Transport } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { transports } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { lockTables } from "../support/table-locks.ts";
import { startLoggedService, useTestService } from "../support/test-service.ts";

// What a caller sees when something is wrong, whatever protocol is spoken.

const service = useTestService();

function newEntry() {
  return { requestId: randomUUID(), userId: randomUUID(), wordCount: 1 };
}

/** Never for the same learner twice, so that no answer is remembered. */
function newRequest() {
  const from = { seconds: 1_000_000_000n };
  return { userId: randomUUID(), from, to: from, granularity: Granularity.DAY };
}

describe.for(Object.entries(transports))("%s", ([, createTransport]) => {
  const connect = () => createClient(LearningLogService, createTransport(service.url));

  test("messages over 4 MiB are refused with RESOURCE_EXHAUSTED, and those that follow are taken", async () => {
    const client = connect();
    const userId = "x".repeat(4 * 1024 * 1024 + 1);
    for (let times = 0; times < 5; times += 1) {
      const error = await failureOf(client.createEntry({ ...newEntry(), userId }));
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
    }
    await client.createEntry(newEntry());
  });

  test("a message of just under 4 MiB is read, and refused for what is wrong in it", async () => {
    const userId = "x".repeat(4 * 1024 * 1024 - 100);
    const error = await failureOf(connect().createEntry({ ...newEntry(), userId }));
    expect(violatedFields(error)).toEqual(["user_id"]);
  });

  test("an unknown method or service is UNIMPLEMENTED", async () => {
    const transport = createTransport(service.url);
    const { createEntry } = LearningLogService.method;
    for (const method of [
      { ...createEntry, name: "Nonsense" },
      { ...createEntry, parent: { ...LearningLogService, typeName: "nonsense.v1.Nonsense" } },
    ]) {
      const call = transport.unary(method, undefined, undefined, undefined, newEntry());
      expect(await failureOf(call)).toMatchObject({ code: Code.Unimplemented });
    }
  });

  test("a deadline that passes is DEADLINE_EXCEEDED, and the summary's statement is cancelled", async () => {
    await using lock = await lockTables(service.database);
    const client = connect();
    const writes = [
      client.createEntry(newEntry(), { timeoutMs: 300 }),
      client.batchCreateEntries({ entries: [newEntry()] }, { timeoutMs: 300 }),
    ].map(failureOf);
    for (const error of await Promise.all(writes))
      expect(error).toMatchObject({ code: Code.DeadlineExceeded });
    const summary = failureOf(client.getSummary(newRequest(), { timeoutMs: 500 }));
    expect(await summary).toMatchObject({ code: Code.DeadlineExceeded });
    // The writes end when they have waited for the lock long enough.
    await lock.waitForBlocked(0);
  });

  test("a summary whose caller gives up is cancelled in the database, too", async () => {
    await using lock = await lockTables(service.database);
    const caller = new AbortController();
    const call = failureOf(connect().getSummary(newRequest(), { signal: caller.signal }));
    await lock.waitForBlocked(1, "reads");
    caller.abort();
    expect(await call).toMatchObject({ code: Code.Canceled });
    await lock.waitForBlocked(0, "reads");
  });

  test("a summary whose caller closes the connection is cancelled in the database, too", async () => {
    await using lock = await lockTables(service.database);
    const { proxy, url } = await proxyTo(service.url);
    const client = createClient(LearningLogService, createTransport(url));
    const call = failureOf(client.getSummary(newRequest()));
    await lock.waitForBlocked(1, "reads");
    proxy.finish();
    await lock.waitForBlocked(0, "reads");
    await call;
  });

  test("an unexpected failure is INTERNAL with an id for the log, and tells nothing else", async () => {
    const { pool } = service.database;
    await pool.query("ALTER TABLE learning_log_aggregates RENAME TO elsewhere");
    try {
      const client = connect();
      const failures = [
        client.createEntry(newEntry()),
        client.getSummary(newRequest()),
        firstOf(client.watchSummary(newRequest())),
      ].map(failureOf);
      for (const error of await Promise.all(failures)) {
        expect(error).toMatchObject({ code: Code.Internal, details: [] });
        expect(error.rawMessage).toMatch(/^internal error [0-9a-f-]{36}$/);
        expect(JSON.stringify([...error.metadata])).not.toMatch(
          /select|learning_log|postgres|127\.0\.0\.1:5/i,
        );
      }
    } finally {
      await pool.query("ALTER TABLE elsewhere RENAME TO learning_log_aggregates");
    }
  });
});

test("a small compressed message that is large when unpacked is refused", async () => {
  const compressing = { sendCompression: compressionGzip, compressMinBytes: 0 };
  const baseUrl = service.url;
  for (const transport of [
    createGrpcTransport({ baseUrl, ...compressing }),
    createConnectTransport({ baseUrl, httpVersion: "1.1", ...compressing }),
  ]) {
    const userId = "x".repeat(64 * 1024 * 1024);
    const call = createClient(LearningLogService, transport).createEntry({ ...newEntry(), userId });
    expect(await failureOf(call)).toMatchObject({ code: Code.ResourceExhausted });
  }
});

test("a caller who goes on sending after the answer is asked to stop", async () => {
  const session = http2.connect(service.url);
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": `/${LearningLogService.typeName}/CreateEntry`,
    "content-type": "application/grpc+proto",
    te: "trailers",
  });
  const answered = new Promise((resolve) => stream.once("trailers", resolve));
  const closed = new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode)));
  stream.resume();
  // The prefix of a message of 1 GiB, and never the end of it.
  stream.write(Buffer.from([0, 0x40, 0, 0, 0]));
  await expect(answered).resolves.toMatchObject({ "grpc-status": String(Code.ResourceExhausted) });
  stream.write(Buffer.alloc(1024 * 1024));
  await expect(closed).resolves.toBe(http2.constants.NGHTTP2_NO_ERROR);
});

describe("the server keeps to a deadline by itself", () => {
  test.for([
    ["CreateEntry", () => newEntry(), 1],
    ["BatchCreateEntries", () => ({ entries: [newEntry()] }), 1],
    ["GetSummary", () => summaryJson(), 0],
    ["ListEntries", () => ({ userId: "mia" }), 0],
  ] as const)("of %s", async ([method, request, writes]) => {
    await using lock = await lockTables(service.database);
    const answer = await post(method, request(), { "connect-timeout-ms": "200" });
    expect(answer).toMatchObject({ status: 504, body: { code: "deadline_exceeded" } });
    // A write goes on without its caller; it must not meet the lock of the next test.
    await lock.waitForBlocked(writes, "writes");
  });

  test("and takes one that is longer than any timer runs", async () => {
    for (const [method, request] of [
      ["GetSummary", summaryJson()],
      ["CreateEntry", newEntry()],
    ] as const) {
      const answer = await post(method, request, { "connect-timeout-ms": "9999999999" });
      expect(answer.status).toBe(200);
    }
  });
});

describe("Connect over a plain GET", () => {
  test("reads a summary", async () => {
    const response = await get("GetSummary", summaryJson());
    expect(response.status).toBe(200);
    await expect(response.json()).resolves.toEqual({ periods: [{ period: "2024-02-29T00:00:00Z" }] });
  });

  test("never writes", async () => {
    const entry = newEntry();
    expect((await get("CreateEntry", entry)).status).toBe(405);
    await expect(post("CreateEntry", entry)).resolves.toMatchObject({ status: 200 });
  });
});

describe("JSON that no client of ours would send is INVALID_ARGUMENT", () => {
  const entry = newEntry();

  test.for([
    ["a UUID in braces", { ...entry, requestId: `{${randomUUID()}}` }, "request_id"],
    ["no request_id", { ...entry, requestId: undefined }, "request_id"],
    ["NUL in user_id", { ...entry, userId: "a\u0000b" }, "user_id"],
    ["null for word_count", { ...entry, wordCount: null }, "word_count"],
    ["a time before 1970", { ...entry, timestamp: "1969-12-31T23:59:59.999999999Z" }, "timestamp"],
  ] as const)("%s, and the field is named", async ([, request, field]) => {
    const { status, body } = await post("CreateEntry", request);
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: "invalid_argument", message: expect.stringContaining(field) });
    expect(body.details).toMatchObject([
      {
        type: "buf.validate.Violations",
        debug: { violations: [{ field: { elements: [{ fieldName: field }] } }] },
      },
    ]);
  });

  test.for([
    ["nothing", ""],
    ["no JSON", "nonsense"],
    ["half of it", '{"requestId": "'],
    ["a list", "[]"],
    ["null", "null"],
    ["a number", "5"],
    ["half a character", JSON.stringify({ ...entry, userId: "\ud800" })],
    ["a string for a number", JSON.stringify({ ...entry, wordCount: "many" })],
    ["a number with a fraction", JSON.stringify({ ...entry, wordCount: 1.5 })],
    ["a number over the limit", JSON.stringify({ ...entry, wordCount: 2 ** 31 })],
    ["an object for a string", JSON.stringify({ ...entry, userId: {} })],
    ["a date for a timestamp", JSON.stringify({ ...entry, timestamp: "2024-02-29" })],
    ["a timestamp of the year 10000", JSON.stringify({ ...entry, timestamp: "+010000-01-01T00:00:00Z" })],
    ["the same field twice under two names", `{"word_count": 1, "wordCount": 2}`],
    ["a very deep structure", `${"[".repeat(100_000)}${"]".repeat(100_000)}`],
    ["bytes that are no UTF-8", Buffer.from('{"userId": "\xff"}', "latin1")],
  ] as const)("%s", async ([, body]) => {
    const answer = await post("CreateEntry", body);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
  });
});

test("JSON of a later version, with fields and values that are not known here, is taken for what is known", async () => {
  const entry = newEntry();
  const answer = await post("CreateEntry", { ...entry, mood: "good", onConflict: "CONFLICT_POLICY_REPLACE" });
  expect(answer).toMatchObject({ status: 200, body: { entry } });
});

describe("bytes that are no message are refused, and the next message is taken", () => {
  const binary: Record<string, (baseUrl: string) => Transport> = {
    gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
    "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
    Connect: (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  };
  const userId = { no: CreateEntryRequestSchema.field.userId.number, wireType: WireType.LengthDelimited };

  test.for(Object.entries(binary))("over %s", async ([, createTransport]) => {
    const client = createClient(LearningLogService, createTransport(service.url));
    for (const data of [
      [5, 0x61],
      [255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
      [2, 0xff, 0xfe],
    ]) {
      const broken = create(CreateEntryRequestSchema, newEntry());
      broken.$unknown = [{ ...userId, data: Uint8Array.from(data) }];
      const { code } = await failureOf(client.createEntry(broken));
      expect(code).toBe(Code.InvalidArgument);
    }
    await client.createEntry(newEntry());
  });
});

describe("the log", () => {
  test("has the id of an unexpected failure, and what it was", async () => {
    const { url, logged } = await startLoggedService(service.database.url);
    await service.database.pool.query("ALTER TABLE learning_log_aggregates RENAME TO elsewhere");
    try {
      const client = createClient(LearningLogService, createGrpcTransport({ baseUrl: url }));
      for (const [method, call] of [
        ["GetSummary", () => client.getSummary(newRequest())],
        ["WatchSummary", () => firstOf(client.watchSummary(newRequest()))],
        ["ImportEntries", () => firstOf(client.importEntries(only({ entries: [newEntry()] })))],
      ] as const) {
        const { rawMessage } = await failureOf(call());
        expect(rawMessage).toMatch(/^internal error [0-9a-f-]{36}$/);
        expect(logged().at(-1)).toMatchObject({
          level: 50,
          correlationId: rawMessage.replace("internal error ", ""),
          url: expect.stringContaining(method),
          err: { message: expect.stringContaining("learning_log_aggregates") },
        });
      }
      expect(logged()).toHaveLength(3);
    } finally {
      await service.database.pool.query("ALTER TABLE elsewhere RENAME TO learning_log_aggregates");
    }
  });

  test("has the method of a GET that failed, and not the request in its query", async () => {
    const { url, logged } = await startLoggedService(service.database.url);
    await service.database.pool.query("ALTER TABLE learning_log_aggregates RENAME TO elsewhere");
    try {
      const request = summaryJson();
      const response = await get("GetSummary", request, url);
      expect(response.status).toBe(500);
      expect(logged()).toMatchObject([{ url: `${url}/${LearningLogService.typeName}/GetSummary` }]);
      expect(JSON.stringify(logged())).not.toContain(request.userId);
    } finally {
      await service.database.pool.query("ALTER TABLE elsewhere RENAME TO learning_log_aggregates");
    }
  });

  test.for(Object.entries(transports))(
    "has nothing of callers who give up over %s",
    async ([, createTransport]) => {
      const { url, logged } = await startLoggedService(service.database.url);
      await using lock = await lockTables(service.database);
      const client = createClient(LearningLogService, createTransport(url));
      const caller = new AbortController();
      const calls = [
        client.getSummary(newRequest(), { signal: caller.signal }),
        client.createEntry(newEntry(), { signal: caller.signal }),
        firstOf(client.watchSummary(newRequest(), { signal: caller.signal })),
      ].map(failureOf);
      await lock.waitForBlocked(3);
      caller.abort();
      await Promise.all(calls);
      await lock.waitForBlocked(0);
      await lock.release();
      await client.createEntry(newEntry());
      expect(logged()).toEqual([]);
    },
  );
});

test.for(["finish", "reset"] as const)(
  "the log has nothing of an import whose connection breaks (%s)",
  async (way) => {
    const { url, logged } = await startLoggedService(service.database.url);
    const { proxy, url: baseUrl } = await proxyTo(url);
    const client = createClient(LearningLogService, createGrpcTransport({ baseUrl }));
    const over = Promise.withResolvers<void>();
    async function* batches() {
      yield { entries: [newEntry()] };
      await over.promise;
    }
    const answers = client.importEntries(batches())[Symbol.asyncIterator]();
    await answers.next();
    const next = failureOf(answers.next());
    proxy[way]();
    await next;
    over.resolve();
    // By then, the service has noticed as well.
    const other = createClient(LearningLogService, createGrpcTransport({ baseUrl: url }));
    for (let call = 0; call < 20; call += 1) await other.createEntry(newEntry());
    expect(logged()).toEqual([]);
  },
);

/** The first answer of a stream; throws what the stream throws. */
async function firstOf<Message>(stream: AsyncIterable<Message>): Promise<Message | undefined> {
  for await (const message of stream) return message;
  return undefined;
}

async function* only<Message>(message: Message): AsyncIterable<Message> {
  yield message;
}

function summaryJson() {
  const time = "2024-02-29T12:00:00Z";
  return { userId: randomUUID(), from: time, to: time, granularity: "GRANULARITY_DAY" };
}

interface Answer {
  readonly status: number;
  readonly body: { readonly code?: string; readonly details?: unknown };
}

/** Calls by GET, as a browser's fetch does. */
function get(method: string, request: object, url = service.url): Promise<Response> {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: JSON.stringify(request) });
  return fetch(`${url}/${LearningLogService.typeName}/${method}?${query}`);
}

/** Calls as a browser's fetch does, without a client library. */
async function post(
  method: string,
  request: object | string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const isRaw = typeof request === "string" || Buffer.isBuffer(request);
  const response = await fetch(`${service.url}/${LearningLogService.typeName}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: isRaw ? request : JSON.stringify(request),
  });
  return { status: response.status, body: (await response.json()) as Answer["body"] };
}
