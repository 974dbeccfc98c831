import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { transports } from "../support/clients.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();

describe.for(Object.entries(transports))("%s", ([, createTransport]) => {
  const client = () => createClient(LearningLogService, createTransport(service.url));

  test("CreateEntry records an entry, and GetSummary counts it", async () => {
    const userId = randomUUID();
    const timestamp = timestampFromDate(new Date("2024-02-29T23:59:59.999Z"));
    const { entry } = await client().createEntry({
      requestId: randomUUID(),
      userId,
      wordCount: 7,
      timestamp,
    });
    expect(entry).toMatchObject({ userId, wordCount: 7, timestamp });

    const { periods } = await client().getSummary({
      userId,
      from: timestamp,
      to: timestamp,
      granularity: Granularity.DAY,
    });
    expect(periods).toMatchObject([
      {
        period: timestampFromDate(new Date("2024-02-29T00:00:00Z")),
        averageWordsLearned: 7,
        totalWordCount: 7n,
        entryCount: 1n,
      },
    ]);
  });

  test("CreateEntry rejects a known request_id with ALREADY_EXISTS, and the entry is counted once", async () => {
    const userId = randomUUID();
    const entry = { requestId: randomUUID(), userId, wordCount: 5 };
    await client().createEntry(entry);
    const error = await client().createEntry(entry).catch(ConnectError.from);
    expect(error).toMatchObject({ code: Code.AlreadyExists });
    const { rows } = await service.database.pool.query(
      "SELECT total_word_count, entry_count FROM learning_log_aggregates WHERE user_id = $1",
      [userId],
    );
    expect(rows).toEqual([{ total_word_count: "5", entry_count: "1" }]);
  });
});
