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

// The errors that callers receive over every protocol.

const service = useTestService();

function newEntry() {
  return { requestId: randomUUID(), userId: randomUUID(), wordCount: 1 };
}

/** Returns a request for a new learner, so that no answer comes from the memo. */
function newRequest() {
  const from = { seconds: 1_000_000_000n };
  return { userId: randomUUID(), from, to: from, granularity: Granularity.DAY };
}

describe.for(Object.entries(transports))("%s", ([, createTransport]) => {
  const connect = () => createClient(LearningLogService, createTransport(service.url));

  test("messages over 4 MiB are rejected with RESOURCE_EXHAUSTED, and the next message is accepted", async () => {
    const client = connect();
    const userId = "x".repeat(4 * 1024 * 1024 + 1);
    for (let times = 0; times < 5; times += 1) {
      const error = await failureOf(client.createEntry({ ...newEntry(), userId }));
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
    }
    await client.createEntry(newEntry());
  });

  test("a message of just under 4 MiB is read, and the error names its invalid field", async () => {
    const userId = "x".repeat(4 * 1024 * 1024 - 100);
    const error = await failureOf(connect().createEntry({ ...newEntry(), userId }));
    expect(violatedFields(error)).toEqual(["user_id"]);
  });

  test("a call of an unknown method or service fails with UNIMPLEMENTED", async () => {
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

  test("calls fail with DEADLINE_EXCEEDED at their deadline, and the statement of a summary is cancelled", async () => {
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
    // The writes end at the lock timeout of their connections.
    await lock.waitForBlocked(0);
  });

  test("a summary is cancelled in the database when its caller cancels the call", async () => {
    await using lock = await lockTables(service.database);
    const caller = new AbortController();
    const call = failureOf(connect().getSummary(newRequest(), { signal: caller.signal }));
    await lock.waitForBlocked(1, "reads");
    caller.abort();
    expect(await call).toMatchObject({ code: Code.Canceled });
    await lock.waitForBlocked(0, "reads");
  });

  test("a summary is cancelled in the database when its caller closes the connection", async () => {
    await using lock = await lockTables(service.database);
    const { proxy, url } = await proxyTo(service.url);
    const client = createClient(LearningLogService, createTransport(url));
    const call = failureOf(client.getSummary(newRequest()));
    await lock.waitForBlocked(1, "reads");
    proxy.finish();
    await lock.waitForBlocked(0, "reads");
    await call;
  });

  test("an unexpected failure is INTERNAL, and reveals only an id that is in the log", async () => {
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

test("a small compressed message is rejected if it exceeds the limit when decompressed", async () => {
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

test("a caller is asked to stop if it continues to send after its call was answered", async () => {
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
  // The prefix of a message of 1 GiB, which is never completed.
  stream.write(Buffer.from([0, 0x40, 0, 0, 0]));
  await expect(answered).resolves.toMatchObject({ "grpc-status": String(Code.ResourceExhausted) });
  stream.write(Buffer.alloc(1024 * 1024));
  await expect(closed).resolves.toBe(http2.constants.NGHTTP2_NO_ERROR);
});

describe("a deadline in the header of a request", () => {
  test.for([
    ["CreateEntry", () => newEntry(), 1],
    ["BatchCreateEntries", () => ({ entries: [newEntry()] }), 1],
    ["GetSummary", () => summaryJson(), 0],
    ["ListEntries", () => ({ userId: "mia" }), 0],
  ] as const)("is enforced by the server for %s", async ([method, request, writes]) => {
    await using lock = await lockTables(service.database);
    const answer = await post(method, request(), { "connect-timeout-ms": "200" });
    expect(answer).toMatchObject({ status: 504, body: { code: "deadline_exceeded" } });
    // A write continues after its deadline. It must be blocked by this lock, not by the lock of the next test.
    await lock.waitForBlocked(writes, "writes");
  });

  test("is accepted even if it is longer than the longest timer", async () => {
    for (const [method, request] of [
      ["GetSummary", summaryJson()],
      ["CreateEntry", newEntry()],
    ] as const) {
      const answer = await post(method, request, { "connect-timeout-ms": "9999999999" });
      expect(answer.status).toBe(200);
    }
  });
});

describe("a GET over Connect", () => {
  test("returns a summary", async () => {
    const response = await get("GetSummary", summaryJson());
    expect(response.status).toBe(200);
    await expect(response.json()).resolves.toEqual({ periods: [{ period: "2024-02-29T00:00:00Z" }] });
  });

  test("is rejected for a method that writes", async () => {
    const entry = newEntry();
    expect((await get("CreateEntry", entry)).status).toBe(405);
    await expect(post("CreateEntry", entry)).resolves.toMatchObject({ status: 200 });
  });
});

describe("CreateEntry rejects JSON with INVALID_ARGUMENT", () => {
  const entry = newEntry();

  test.for([
    ["a UUID in braces", { ...entry, requestId: `{${randomUUID()}}` }, "request_id"],
    ["a missing request_id", { ...entry, requestId: undefined }, "request_id"],
    ["a NUL character in user_id", { ...entry, userId: "a\u0000b" }, "user_id"],
    ["null for word_count", { ...entry, wordCount: null }, "word_count"],
    ["a time before 1970", { ...entry, timestamp: "1969-12-31T23:59:59.999999999Z" }, "timestamp"],
  ] as const)("for %s, and names the field", async ([, request, field]) => {
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
    ["an empty body", ""],
    ["text that is not JSON", "nonsense"],
    ["truncated JSON", '{"requestId": "'],
    ["a list", "[]"],
    ["null", "null"],
    ["a number", "5"],
    ["a lone surrogate", JSON.stringify({ ...entry, userId: "\ud800" })],
    ["a string in place of a number", JSON.stringify({ ...entry, wordCount: "many" })],
    ["a number with a fraction", JSON.stringify({ ...entry, wordCount: 1.5 })],
    ["a number over the limit of int32", JSON.stringify({ ...entry, wordCount: 2 ** 31 })],
    ["an object in place of a string", JSON.stringify({ ...entry, userId: {} })],
    ["a date in place of a timestamp", JSON.stringify({ ...entry, timestamp: "2024-02-29" })],
    ["a timestamp in the year 10000", JSON.stringify({ ...entry, timestamp: "+010000-01-01T00:00:00Z" })],
    ["a field under both of its names", `{"word_count": 1, "wordCount": 2}`],
    ["deeply nested lists", `${"[".repeat(100_000)}${"]".repeat(100_000)}`],
    ["bytes that are not UTF-8", Buffer.from('{"userId": "\xff"}', "latin1")],
  ] as const)("for %s", async ([, body]) => {
    const answer = await post("CreateEntry", body);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
  });
});

test("CreateEntry accepts JSON of a later version, and ignores its unknown fields and enum values", async () => {
  const entry = newEntry();
  const answer = await post("CreateEntry", { ...entry, mood: "good", onConflict: "CONFLICT_POLICY_REPLACE" });
  expect(answer).toMatchObject({ status: 200, body: { entry } });
});

describe("an invalid binary message is rejected, and the next message is accepted", () => {
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
  test("has the id and the cause of an unexpected failure", async () => {
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

  test("has the method of a failed GET, but not the request in its query", async () => {
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
    "has no line for calls over %s that their caller cancels",
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
  "the log has no line for an import whose connection breaks (%s)",
  async (way) => {
    const { url, logged } = await startLoggedService(service.database.url);
    const { proxy, url: baseUrl } = await proxyTo(url);
    const client = createClient(LearningLogService, createGrpcTransport({ baseUrl }));
    const finished = Promise.withResolvers<void>();
    async function* batches() {
      yield { entries: [newEntry()] };
      await finished.promise;
    }
    const answers = client.importEntries(batches())[Symbol.asyncIterator]();
    await answers.next();
    const next = failureOf(answers.next());
    proxy[way]();
    await next;
    finished.resolve();
    // After these calls, the service has detected the broken connection, too.
    const other = createClient(LearningLogService, createGrpcTransport({ baseUrl: url }));
    for (let call = 0; call < 20; call += 1) await other.createEntry(newEntry());
    expect(logged()).toEqual([]);
  },
);

/** Returns the first answer of a stream. @throws the error of the stream */
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

/** Calls a method by GET, as a browser's fetch does. */
function get(method: string, request: object, url = service.url): Promise<Response> {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: JSON.stringify(request) });
  return fetch(`${url}/${LearningLogService.typeName}/${method}?${query}`);
}

/** Calls a method by POST without a client library, as a browser's fetch does. */
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
