import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { Health } from "#gen/health/v1/health_pb.js";
import { unaryPaths } from "../../src/config.ts";
import { transports } from "../support/clients.ts";
import { useTestService } from "../support/test-service.ts";

// nginx buffers an answer unless it has the header "X-Accel-Buffering: no".

const allTransports = Object.entries(transports);

describe.for(unaryPaths)("with the unary path %s", (unaryPath) => {
  const service = useTestService({ unaryPath });

  test.for(allTransports)("a watch over %s has X-Accel-Buffering: no", async ([, createTransport]) => {
    const { watchSummary } = createClient(LearningLogService, createTransport(service.url));
    await expect(bufferingOf((options) => watchSummary(newRequest(), options))).resolves.toBe("no");
    const { watch } = createClient(Health, createTransport(service.url));
    await expect(bufferingOf((options) => watch({}, options))).resolves.toBe("no");
  });

  test.for(allTransports.filter(([name]) => name.endsWith("HTTP/2")))(
    "a bidirectional stream over %s has X-Accel-Buffering: no",
    async ([, createTransport]) => {
      const { importEntries } = createClient(LearningLogService, createTransport(service.url));
      const batch = { entries: [{ requestId: randomUUID(), userId: "mia", wordCount: 1 }] };
      await expect(bufferingOf((options) => importEntries(only(batch), options))).resolves.toBe("no");
      const { serverReflectionInfo } = createClient(ServerReflection, createTransport(service.url));
      const question = { messageRequest: { case: "listServices", value: "" } } as const;
      await expect(bufferingOf((options) => serverReflectionInfo(only(question), options))).resolves.toBe(
        "no",
      );
    },
  );

  test.for(allTransports)("a unary call over %s has no X-Accel-Buffering", async ([, createTransport]) => {
    const { getSummary } = createClient(LearningLogService, createTransport(service.url));
    let buffering: string | null | undefined;
    await getSummary(newRequest(), { onHeader: (header) => (buffering = header.get("x-accel-buffering")) });
    expect(buffering).toBeNull();
  });
});

/** Cancels the call after its first answer. @returns the value of X-Accel-Buffering */
async function bufferingOf(
  call: (options: { signal: AbortSignal; onHeader: (header: Headers) => void }) => AsyncIterable<unknown>,
): Promise<string | null | undefined> {
  const caller = new AbortController();
  let buffering: string | null | undefined;
  const onHeader = (header: Headers) => {
    buffering = header.get("x-accel-buffering");
  };
  const answers = call({ signal: caller.signal, onHeader })[Symbol.asyncIterator]();
  await answers.next();
  caller.abort();
  return buffering;
}

function newRequest() {
  const from = { seconds: 1_700_000_000n };
  return { userId: randomUUID(), from, to: from, granularity: Granularity.DAY };
}

async function* only<Message>(message: Message): AsyncIterable<Message> {
  yield message;
}
