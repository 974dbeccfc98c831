import { create } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createClient,
  createContextKey,
  createContextValues,
  decodeBinaryHeader,
  encodeBinaryHeader,
  type HandlerContext,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { onAbort } from "../../../src/call-context.ts";
import { adapters } from "../../support/adapters.ts";
import { failureOf } from "../../support/failures.ts";
import { type Methods, pathOf, serve } from "./adapters.ts";

// What handlers, interceptors and clients observe of a unary call, with both adapters and over every protocol.

type TransportOptions = Partial<
  Pick<
    Parameters<typeof createGrpcTransport>[0],
    "acceptCompression" | "sendCompression" | "compressMinBytes"
  >
>;

const transports: Readonly<Record<string, (baseUrl: string, options?: TransportOptions) => Transport>> = {
  "Connect JSON over HTTP/1.1": (baseUrl, options) =>
    createConnectTransport({ ...options, baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect over HTTP/1.1": (baseUrl, options) =>
    createConnectTransport({ ...options, baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "Connect over HTTP/2": (baseUrl, options) =>
    createConnectTransport({ ...options, baseUrl, httpVersion: "2", useBinaryFormat: true }),
  "gRPC-Web over HTTP/1.1": (baseUrl, options) =>
    createGrpcWebTransport({ ...options, baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": (baseUrl, options) =>
    createGrpcWebTransport({ ...options, baseUrl, httpVersion: "2" }),
  "gRPC over HTTP/2": (baseUrl, options) => createGrpcTransport({ ...options, baseUrl }),
  "gRPC JSON over HTTP/2": (baseUrl, options) =>
    createGrpcTransport({ ...options, baseUrl, useBinaryFormat: false }),
};

const cases = Object.entries(adapters).flatMap(([adapterName, adapter]) =>
  Object.entries(transports).map(
    ([name, createTransport]) => [adapterName, name, adapter, createTransport] as const,
  ),
);

/** Answers with the entry of the request. */
const echo: Methods = {
  createEntry: ({ requestId, userId, wordCount = 0 }) => ({ entry: { requestId, userId, wordCount } }),
};

const wordy = { requestId: "r", userId: "x".repeat(10_000), wordCount: 7 };

describe.for(cases)("with the adapter %s, over %s", ([, transportName, adapter, createTransport]) => {
  const start = async (
    methods: Methods,
    options?: Parameters<typeof serve>[2],
    transportOptions?: TransportOptions,
  ) => {
    const baseUrl = await serve(adapter, methods, options);
    return createClient(LearningLogService, createTransport(baseUrl, transportOptions));
  };

  test("the client receives the message that it has sent", async () => {
    const client = await start(echo);
    for (const entry of [wordy, { requestId: "", userId: "", wordCount: 0 }, { userId: "ß🎓" }]) {
      expect((await client.createEntry(entry)).entry).toMatchObject(entry);
    }
  });

  test("a handler receives the method, protocol, URL, headers and deadline of its call", async () => {
    let context: HandlerContext | undefined;
    const methods: Methods = {
      createEntry(_request, given) {
        context = given;
        return {};
      },
    };
    const client = await start(methods);
    const headers = { "x-one": "1", "x-bin": encodeBinaryHeader(new Uint8Array([0, 255])) };
    await client.createEntry({}, { headers, timeoutMs: 60_000 });
    expect(context).toMatchObject({
      service: LearningLogService,
      method: LearningLogService.method.createEntry,
      requestMethod: "POST",
      protocolName: protocolOf(transportName),
    });
    expect(context?.url).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+\/dailyaggregator\.v1\.LearningLogService\/CreateEntry$/,
    );
    expect(context?.requestHeader.get("x-one")).toBe("1");
    expect(decodeBinaryHeader(context?.requestHeader.get("x-bin") ?? "")).toEqual(new Uint8Array([0, 255]));
    expect([...(context?.requestHeader.keys() ?? [])].filter((name) => name.startsWith(":"))).toEqual([]);
    expect(context?.timeoutMs()).toBeGreaterThan(50_000);
    expect(context?.timeoutMs()).toBeLessThanOrEqual(60_000);
  });

  test("a call without a deadline has no time limit", async () => {
    let timeoutMs: number | undefined = 0;
    const client = await start({
      createEntry(_request, context) {
        timeoutMs = context.timeoutMs();
        return {};
      },
    });
    await client.createEntry({});
    expect(timeoutMs).toBeUndefined();
  });

  test("a client receives the headers and trailers that a handler sets", async () => {
    const bytes = new Uint8Array([1, 2, 250]);
    const client = await start({
      createEntry(_request, { responseHeader, responseTrailer }) {
        responseHeader.set("x-header", "a");
        responseHeader.append("x-header", "b");
        responseTrailer.set("x-trailer", "c");
        responseTrailer.set("x-trailer-bin", encodeBinaryHeader(bytes));
        return {};
      },
    });
    let header: Headers | undefined;
    let trailer: Headers | undefined;
    await client.createEntry(
      {},
      {
        onHeader: (received) => {
          header = received;
        },
        onTrailer: (received) => {
          trailer = received;
        },
      },
    );
    expect(header?.get("x-header")).toBe("a, b");
    expect(trailer?.get("x-trailer")).toBe("c");
    expect(decodeBinaryHeader(trailer?.get("x-trailer-bin") ?? "")).toEqual(bytes);
  });

  test("a client receives an error with its details and metadata", async () => {
    const client = await start({
      createEntry(_request, { responseTrailer }) {
        responseTrailer.set("x-trailer", "t");
        const detail = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 3n } } };
        const metadata = { "x-reason": "wet paint", "content-type": "not/this" };
        throw new ConnectError("grüße, 100 %", Code.FailedPrecondition, metadata, [detail]);
      },
    });
    const error = await failureOf(client.createEntry({}));
    expect(error).toMatchObject({ code: Code.FailedPrecondition, rawMessage: "grüße, 100 %" });
    expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 3n } }]);
    expect(error.metadata.get("x-reason")).toBe("wet paint");
    expect(error.metadata.get("x-trailer") ?? error.metadata.get("trailer-x-trailer")).toBe("t");
  });

  test.for([
    ["a thrown error", () => new Error("secret")],
    ["an error of a rejected promise", () => Promise.reject(new TypeError("secret"))],
  ] as const)("%s that is not a ConnectError becomes INTERNAL without its message", async ([, fail]) => {
    const client = await start({
      async createEntry() {
        throw await fail();
      },
    });
    const error = await failureOf(client.createEntry({}));
    expect(error).toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
  });

  test("a call of a method without an implementation fails with UNIMPLEMENTED", async () => {
    const client = await start({});
    const error = await failureOf(client.createEntry({}));
    const rawMessage = `${LearningLogService.typeName}.CreateEntry is not implemented`;
    expect(error).toMatchObject({ code: Code.Unimplemented, rawMessage });
  });

  test("interceptors run in their order, and may change everything in the request and the response", async () => {
    const key = createContextKey("nobody");
    const order: string[] = [];
    let passedSignal: AbortSignal | undefined;
    const trace =
      (name: string): Interceptor =>
      (next) =>
      async (request) => {
        order.push(`${name} in`);
        const response = await next(request);
        order.push(`${name} out`);
        return response;
      };
    const change: Interceptor = (next) => async (request) => {
      if (request.stream) throw new Error("a unary call came as a stream");
      const passed = {
        ...request,
        message: create(CreateEntryRequestSchema, { userId: "changed" }),
        header: new Headers({ "x-added": "yes" }),
        contextValues: createContextValues().set(key, request.header.get("x-user") ?? ""),
        signal: AbortSignal.any([request.signal]),
      };
      passedSignal = passed.signal;
      const response = await next(passed);
      if (response.stream) throw new Error("a unary call was answered by a stream");
      response.trailer.set("x-by", "interceptor");
      const header = new Headers(response.header);
      header.set("x-also-by", "interceptor");
      return { ...response, header };
    };
    const client = await start(
      {
        createEntry({ userId }, { values, requestHeader, signal }) {
          order.push("handler");
          expect(signal).toBe(passedSignal);
          return { entry: { userId, requestId: `${values.get(key)} ${requestHeader.get("x-added")}` } };
        },
      },
      { interceptors: [trace("outer"), change, trace("inner")] },
    );
    let header: Headers | undefined;
    let trailer: Headers | undefined;
    const { entry } = await client.createEntry(
      { userId: "mia" },
      {
        headers: { "x-user": "mia" },
        onHeader: (received) => {
          header = received;
        },
        onTrailer: (received) => {
          trailer = received;
        },
      },
    );
    expect(entry).toMatchObject({ userId: "changed", requestId: "mia yes" });
    expect(order).toEqual(["outer in", "inner in", "handler", "inner out", "outer out"]);
    expect(header?.get("x-also-by")).toBe("interceptor");
    expect(trailer?.get("x-by")).toBe("interceptor");
  });

  test("an interceptor has separate state for each call", async () => {
    const counting: Interceptor = (next) => {
      let calls = 0;
      return (request) => {
        calls += 1;
        request.header.set("x-calls", String(calls));
        return next(request);
      };
    };
    const client = await start(
      {
        createEntry: (_request, { requestHeader }) => ({
          entry: { userId: requestHeader.get("x-calls") ?? "" },
        }),
      },
      { interceptors: [counting] },
    );
    for (let call = 0; call < 2; call += 1) {
      expect((await client.createEntry({})).entry?.userId).toBe("1");
    }
  });

  test("an interceptor may reject a call in place of the handler", async () => {
    const refuse: Interceptor = () => async () => {
      throw new ConnectError("not today", Code.PermissionDenied);
    };
    const client = await start(echo, { interceptors: [refuse] });
    const error = await failureOf(client.createEntry({}));
    expect(error).toMatchObject({ code: Code.PermissionDenied, rawMessage: "not today" });
  });

  test("contextValues and requestGate run before the message is read", async () => {
    const key = createContextKey(0);
    const client = await start(
      { createEntry: (_request, { values }) => ({ entry: { wordCount: values.get(key) } }) },
      {
        contextValues: (request) => createContextValues().set(key, Number(request.headers["x-number"])),
        requestGate({ requestHeader }) {
          if (requestHeader.get("x-number") === "13")
            throw new ConnectError("bad luck", Code.Unauthenticated);
        },
      },
    );
    const { entry } = await client.createEntry({}, { headers: { "x-number": "12" } });
    expect(entry?.wordCount).toBe(12);
    const refused = failureOf(client.createEntry(wordy, { headers: { "x-number": "13" } }));
    expect(await refused).toMatchObject({ code: Code.Unauthenticated, rawMessage: "bad luck" });
  });

  test("a handler's signal aborts with DEADLINE_EXCEEDED at the deadline", async () => {
    const { promise: aborted, resolve } = Promise.withResolvers<unknown>();
    const client = await start({
      async createEntry(_request, { signal }) {
        await new Promise((ended) => signal.addEventListener("abort", ended));
        resolve(signal.reason);
        throw signal.reason;
      },
    });
    // Sent as headers, so that only the server enforces the deadline.
    const headers = { "connect-timeout-ms": "100", "grpc-timeout": "100m" };
    const error = await failureOf(client.createEntry({}, { headers }));
    expect(error).toMatchObject({ code: Code.DeadlineExceeded, rawMessage: "the operation timed out" });
    await expect(aborted).resolves.toMatchObject({ code: Code.DeadlineExceeded });
  });

  test("a deadline over maxTimeoutMs is rejected", async () => {
    const client = await start(echo, { maxTimeoutMs: 1000 });
    const error = await failureOf(client.createEntry({}, { timeoutMs: 2000 }));
    expect(error).toMatchObject({ code: Code.InvalidArgument, rawMessage: "timeout 2000ms must be <= 1000" });
  });

  test("a handler's signal aborts when the caller cancels the call", async () => {
    const { promise: started, resolve: begin } = Promise.withResolvers<void>();
    const { promise: aborted, resolve } = Promise.withResolvers<AbortSignal>();
    const client = await start({
      async createEntry(_request, { signal }) {
        begin();
        await new Promise((ended) => signal.addEventListener("abort", ended));
        resolve(signal);
        return {};
      },
    });
    const caller = new AbortController();
    const call = failureOf(client.createEntry({}, { signal: caller.signal }));
    await started;
    caller.abort();
    expect(await call).toMatchObject({ code: Code.Canceled });
    const { reason } = await aborted;
    expect(reason).toBeInstanceOf(Error);
    if (/HTTP\/2/.test(transportName)) expect(reason).toMatchObject({ code: Code.Canceled });
  });

  test("a handler's signal aborts when the server shuts down", async () => {
    const shutdown = new AbortController();
    const client = await start(
      {
        async createEntry(_request, { signal }) {
          shutdown.abort(new ConnectError("closing time", Code.Unavailable));
          signal.throwIfAborted();
          return {};
        },
      },
      { shutdownSignal: shutdown.signal },
    );
    for (let call = 0; call < 2; call += 1) {
      const error = await failureOf(client.createEntry({}));
      expect(error).toMatchObject({ code: Code.Unavailable, rawMessage: "closing time" });
    }
  });

  test.for([
    ["the deadline passes", { timeoutMs: 50 }, undefined, Code.DeadlineExceeded],
    ["the caller cancels", {}, "caller", Code.Canceled],
    ["the server shuts down", {}, "server", Code.Unavailable],
  ] as const)("a handler that waits for the abort is notified when %s", async ([, options, who, code]) => {
    const shutdown = new AbortController();
    const caller = new AbortController();
    const { promise: reasons, resolve } = Promise.withResolvers<unknown[]>();
    const client = await start(
      {
        async createEntry(_request, context) {
          const [first, second] = [Promise.withResolvers(), Promise.withResolvers()];
          onAbort(context, first.resolve);
          onAbort(context, second.resolve);
          if (who === "caller") caller.abort();
          if (who === "server") shutdown.abort(new ConnectError("closing", Code.Unavailable));
          resolve(await Promise.all([first.promise, second.promise]));
          throw context.signal.reason;
        },
      },
      who === "server" ? { shutdownSignal: shutdown.signal } : {},
    );
    const error = await failureOf(client.createEntry({}, { ...options, signal: caller.signal }));
    expect(error).toMatchObject({ code });
    const [first, second] = await reasons;
    expect(first).toBeInstanceOf(Error);
    expect(second).toBe(first);
  });

  test("a handler that waits for the abort gets the reason of a signal that an interceptor passes", async () => {
    const reason = new ConnectError("enough", Code.Aborted);
    const withSignal: Interceptor = (next) => (request) =>
      next({ ...request, signal: AbortSignal.abort(reason) } as typeof request);
    const methods: Methods = {
      createEntry: (_request, context) => new Promise((_, reject) => onAbort(context, reject)),
    };
    const client = await start(methods, { interceptors: [withSignal] });
    const error = await failureOf(client.createEntry({}));
    expect(error).toMatchObject({ code: Code.Aborted, rawMessage: "enough" });
  });

  test("a handler's signal aborts when the call ends, not before", async () => {
    const signals: AbortSignal[] = [];
    let abortedEarly = false;
    const client = await start({
      createEntry(_request, { signal }) {
        abortedEarly ||= signal.aborted;
        signals.push(signal);
        if (signals.length === 2) throw new ConnectError("no", Code.Aborted);
        return {};
      },
    });
    await client.createEntry({});
    await failureOf(client.createEntry({}));
    expect(abortedEarly).toBe(false);
    await expect.poll(() => signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  test.for([compressionGzip, compressionBrotli])(
    "requests and answers may be compressed with $name",
    async (compression) => {
      const options = { acceptCompression: [compression], sendCompression: compression, compressMinBytes: 0 };
      const client = await start(echo, { compressMinBytes: 0 }, options);
      let header: Headers | undefined;
      const { entry } = await client.createEntry(wordy, {
        onHeader: (received) => {
          header = received;
        },
      });
      expect(entry).toMatchObject(wordy);
      expect(header?.get("content-encoding") ?? header?.get("grpc-encoding")).toBe(compression.name);
    },
  );

  test("an unknown compression is rejected, and the error names the known ones", async () => {
    const unknown = { ...compressionGzip, name: "zip" };
    const client = await start(echo, {}, { sendCompression: unknown, compressMinBytes: 0 });
    const error = await failureOf(client.createEntry(wordy));
    expect(error).toMatchObject({
      code: Code.Unimplemented,
      rawMessage: 'unknown compression "zip": supported encodings are gzip,br',
    });
  });

  test("a message over the limit is rejected, compressed or not, and the next one is accepted", async () => {
    const options = { readMaxBytes: 1000 };
    const client = await start(echo, options);
    const compressing = await start(echo, options, { sendCompression: compressionGzip, compressMinBytes: 0 });
    for (const { createEntry } of [client, compressing]) {
      expect(await failureOf(createEntry(wordy))).toMatchObject({ code: Code.ResourceExhausted });
      await createEntry({});
    }
  });

  test("an answer over the limit fails with RESOURCE_EXHAUSTED", async () => {
    const client = await start(
      { createEntry: () => ({ entry: { userId: wordy.userId } }) },
      { writeMaxBytes: 1000 },
    );
    expect(await failureOf(client.createEntry({}))).toMatchObject({ code: Code.ResourceExhausted });
  });
});

describe.for(Object.entries(adapters))("with the adapter %s", ([, adapter]) => {
  test("a method without side effects can be called by GET", async () => {
    let context: HandlerContext | undefined;
    const url = await serve(adapter, {
      getSummary({ userId }, given) {
        context = given;
        return { nextPageToken: userId };
      },
    });
    for (const useBinaryFormat of [true, false]) {
      for (const httpVersion of ["1.1", "2"] as const) {
        const options = { baseUrl: url, httpVersion, useBinaryFormat, useHttpGet: true };
        const client = createClient(LearningLogService, createConnectTransport(options));
        expect((await client.getSummary({ userId: "ä b+c" })).nextPageToken).toBe("ä b+c");
        expect(context).toMatchObject({ requestMethod: "GET", protocolName: "connect" });
        expect(context?.url).toContain(`${pathOf("GetSummary")}?`);
      }
    }
  });

  test("streams are served over every protocol", async () => {
    const url = await serve(adapter, {
      async *watchSummary({ userId }) {
        for (let entry = 1; entry <= userId.length; entry += 1)
          yield { periods: [{ entryCount: BigInt(entry) }] };
      },
    });
    for (const createTransport of Object.values(transports)) {
      const client = createClient(LearningLogService, createTransport(url));
      const counts: unknown[] = [];
      for await (const { periods } of client.watchSummary({ userId: "mia" }))
        counts.push(periods[0]?.entryCount);
      expect(counts).toEqual([1n, 2n, 3n]);
    }
  });
});

function protocolOf(transportName: string): string {
  if (transportName.startsWith("Connect")) return "connect";
  return transportName.startsWith("gRPC-Web") ? "grpc-web" : "grpc";
}
