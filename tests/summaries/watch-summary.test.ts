import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();

test("what is written after the summary arrives as the changed period", async () => {
  const client = grpcClient(service.url);
  const userId = randomUUID();
  const day = (text: string) => timestampFromDate(new Date(text));
  await client.createEntry({
    requestId: randomUUID(),
    userId,
    wordCount: 3,
    timestamp: day("2024-05-01T12:00:00Z"),
  });
  const answers = client
    .watchSummary({
      userId,
      from: day("2024-05-01T00:00:00Z"),
      to: day("2024-05-03T00:00:00Z"),
      granularity: Granularity.DAY,
    })
    [Symbol.asyncIterator]();
  const first = await answers.next();
  expect(first.value.periods).toHaveLength(3);
  await client.createEntry({
    requestId: randomUUID(),
    userId,
    wordCount: 4,
    timestamp: day("2024-05-02T12:00:00Z"),
  });
  const second = await answers.next();
  expect(second.value.periods).toMatchObject([
    { period: day("2024-05-02T00:00:00Z"), totalWordCount: 4n, entryCount: 1n },
  ]);
  await answers.return?.();
});
