import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

// The page of an application. It runs in a browser, and defines a global function that the test calls.

const transports: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  Connect: (baseUrl) => createConnectTransport({ baseUrl }),
  "Connect with GET": (baseUrl) => createConnectTransport({ baseUrl, useHttpGet: true }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl }),
};

/** What the page has received, in types that can be passed from the browser to the test. */
export interface PageReport {
  /** The word counts of the requested day: before the page writes an entry, and afterwards. */
  readonly totals: readonly string[];
  /** The word counts of that day that the watch received, in order. */
  readonly watched: readonly string[];
  /** The error code of the second write of the same entry; undefined if the write succeeded. */
  readonly retryCode: number | undefined;
}

async function useService(baseUrl: string, transportName: string, userId: string): Promise<PageReport> {
  const transport = transports[transportName]?.(baseUrl);
  if (transport === undefined) throw new Error(`there is no transport ${transportName}`);
  const client = createClient(LearningLogService, transport);
  const timestamp = { seconds: 1_772_494_200n, nanos: 0 };
  const question = {
    userId,
    from: timestamp,
    to: timestamp,
    granularity: Granularity.DAY,
    timeZone: "Europe/Berlin",
  };
  const total = async () => String((await client.getSummary(question)).periods[0]?.totalWordCount);

  const before = await total();
  const watched: string[] = [];
  let retryCode: number | undefined;
  for await (const { periods } of client.watchSummary(question)) {
    watched.push(String(periods[0]?.totalWordCount));
    if (watched.length === 2) break;
    const entry = { requestId: crypto.randomUUID(), userId, wordCount: 25, timestamp };
    await client.createEntry(entry);
    retryCode = await client.createEntry(entry).then(
      () => undefined,
      ({ code }) => code,
    );
  }
  return { totals: [before, await total()], watched, retryCode };
}

Object.assign(globalThis, { useService });
