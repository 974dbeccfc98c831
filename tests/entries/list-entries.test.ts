import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type pg from "pg";
import { describe, expect, test } from "vitest";
import type { Entry, ListEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { ConnectionPool } from "../../src/database/pool.ts";
import { type ListSelection, selectEntries } from "../../src/entries/sql/select-entries.ts";
import { encodePageToken } from "../../src/paging/page-token.ts";
import { checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { micros } from "../support/micros.ts";
import { minutelyEntries, recordLearner, recordManyEntries } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);

const { pool, connections } = service.database;
const client = () => grpcClient(service.url);

/** A time this many seconds after noon of 29 February 2024 in UTC. */
const at = (seconds: number, nanos = 0) => ({
  ...timestampFromDate(new Date(Date.UTC(2024, 1, 29, 12, 0, seconds))),
  nanos,
});

/** Records an entry of one word at each of these times. @returns the stored entries, in the same order */
async function record(userId: string, times: readonly ReturnType<typeof at>[]): Promise<Entry[]> {
  const entries = times.map((timestamp) => ({ requestId: randomUUID(), userId, wordCount: 1, timestamp }));
  await client().batchCreateEntries({ entries });
  const { entries: stored } = await client().listEntries({ userId, pageSize: 1000 });
  const byId = new Map(stored.map((entry) => [entry.requestId, entry]));
  return entries.flatMap(({ requestId }) => byId.get(requestId) ?? []);
}

/** Yields every page of the list. */
async function* pagesOf(request: MessageInitShape<typeof ListEntriesRequestSchema>) {
  let pageToken = "";
  do {
    const page = await client().listEntries({ ...request, pageToken });
    yield page;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

async function walk(request: MessageInitShape<typeof ListEntriesRequestSchema>): Promise<Entry[]> {
  return (await Array.fromAsync(pagesOf(request))).flatMap(({ entries }) => entries);
}

test("ListEntries returns one learner's entries by descending time, then by descending request_id", async () => {
  const userId = randomUUID();
  await record(randomUUID(), [at(1)]);
  const [a, b, c, d, e] = await record(userId, [at(3), at(1), at(2), at(2), at(2, 1000)]);
  const [higher, lower] = [c, d].sort((x, y) => ((x?.requestId ?? "") < (y?.requestId ?? "") ? 1 : -1));
  const { entries, nextPageToken } = await client().listEntries({ userId });
  expect(entries).toEqual([a, e, higher, lower, b]);
  expect(nextPageToken).toBe("");
});

test("a learner without entries has an empty list", async () => {
  const answer = await client().listEntries({ userId: randomUUID() });
  expect(answer).toMatchObject({ entries: [], nextPageToken: "" });
});

test("the range of a list includes `from` and excludes `to`", async () => {
  const userId = randomUUID();
  const [a, b, c, d] = await record(userId, [at(1), at(2), at(2, 1000), at(3)]);
  const list = async (range: object) => (await client().listEntries({ userId, ...range })).entries;
  expect(await list({ from: at(2) })).toEqual([d, c, b]);
  expect(await list({ to: at(3) })).toEqual([c, b, a]);
  expect(await list({ from: at(2), to: at(2, 1000) })).toEqual([b]);
  expect(await list({ from: at(2), to: at(2) })).toEqual([]);
  expect(await list({ from: at(4) })).toEqual([]);
  expect(await list({ from: { seconds: 0n }, to: { seconds: 253_370_764_799n } })).toEqual([d, c, b, a]);
});

describe("ListEntries rejects an invalid request, and names the field:", () => {
  test.for([
    ["`from` after `to`", "from", { from: at(2), to: at(1) }],
    ["`from` before 1970", "from", { from: { seconds: -1n } }],
    ["`to` in the year 9999", "to", { to: { seconds: 253_370_764_800n } }],
    ["`to` with nanos out of range", "to", { to: { seconds: 1n, nanos: 2_000_000_000 } }],
    ["a negative page_size", "page_size", { pageSize: -1 }],
    ["an empty user_id", "user_id", { userId: "" }],
    ["an invalid page_token", "page_token", { pageToken: "next" }],
  ] as const)("%s", async ([, field, invalid]) => {
    const error = await failureOf(client().listEntries({ userId: "u", ...invalid }));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toContain(field);
  });
});

test("a page has 100 entries by default, or page_size entries, up to 1000", async () => {
  const userId = await recordLearner(connections, minutelyEntries(1001));
  for (const [pageSize, count] of [
    [0, 100],
    [1, 1],
    [999, 999],
    [1000, 1000],
    [2_147_483_647, 1000],
  ] as const) {
    const { entries, nextPageToken } = await client().listEntries({ userId, pageSize });
    expect(entries).toHaveLength(count);
    expect(nextPageToken).not.toBe("");
  }
});

test("a full last page has no next_page_token", async () => {
  const userId = await recordLearner(connections, minutelyEntries(6));
  const pages = await Array.fromAsync(pagesOf({ userId, pageSize: 3 }));
  expect(pages.map(({ entries }) => entries.length)).toEqual([3, 3]);
});

test("small pages contain the same entries as one large page, with and without a range", async () => {
  const userId = await recordLearner(connections, minutelyEntries(50));
  const midnight = 1_704_067_200n;
  for (const range of [
    {},
    { from: { seconds: midnight + 600n } },
    { to: { seconds: midnight + 2400n } },
    { from: { seconds: midnight + 600n }, to: { seconds: midnight + 2400n } },
  ]) {
    const { entries } = await client().listEntries({ userId, ...range });
    expect(await walk({ userId, ...range, pageSize: 7 })).toEqual(entries);
  }
});

test("entries of the same time are listed exactly once across pages", async () => {
  const userId = randomUUID();
  const entries = await record(userId, Array(20).fill(at(1)));
  const walked = await walk({ userId, pageSize: 3 });
  expect(walked).toHaveLength(20);
  expect(new Set(walked.map(({ requestId }) => requestId))).toEqual(
    new Set(entries.map(({ requestId }) => requestId)),
  );
});

test("entries that are recorded between two pages neither hide nor repeat existing entries", async () => {
  const userId = randomUUID();
  const seconds = Array.from({ length: 40 }, (_, index) => index);
  const before = await record(
    userId,
    seconds.map((second) => at(second)),
  );
  const walked: Entry[] = [];
  for await (const { entries } of pagesOf({ userId, pageSize: 7 })) {
    walked.push(...entries);
    // Above the position where the page ended, at this position, and below it.
    const last = Number(entries.at(-1)?.timestamp?.seconds) - Number(at(0).seconds);
    await record(userId, [at(100), at(last), at(last), at(last - 1, 1000), at(-100)]);
  }
  const ids = walked.map(({ requestId }) => requestId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(expect.arrayContaining(before.map(({ requestId }) => requestId)));
  const times = walked.map(({ timestamp }) => timestamp?.seconds ?? 0n);
  expect(times).toEqual(times.toSorted((x, y) => Number(y - x)));
});

test("a page begins where the previous page ended, even if the last entry of that page was deleted", async () => {
  const userId = await recordLearner(connections, minutelyEntries(4));
  const { entries } = await client().listEntries({ userId });
  const first = await client().listEntries({ userId, pageSize: 2 });
  await client().deleteEntry({ requestId: entries[1]?.requestId ?? "" });
  const second = await client().listEntries({ userId, pageSize: 2, pageToken: first.nextPageToken });
  expect(second.entries).toEqual(entries.slice(2));
});

describe("ListEntries rejects a page_token", () => {
  const refuse = async (request: MessageInitShape<typeof ListEntriesRequestSchema>) => {
    const error = await failureOf(client().listEntries(request));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual(["page_token"]);
  };

  test("that belongs to another learner or another range", async () => {
    const userId = await recordLearner(connections, minutelyEntries(3));
    const other = await recordLearner(connections, minutelyEntries(3));
    const { nextPageToken: pageToken } = await client().listEntries({ userId, pageSize: 1 });
    await refuse({ userId: other, pageToken });
    await refuse({ userId, pageToken, from: at(1) });
    await refuse({ userId, pageToken, to: at(1) });
    expect(await client().listEntries({ userId, pageToken, pageSize: 3 })).toMatchObject({
      nextPageToken: "",
    });
  });

  test("that is damaged at any position", async () => {
    const userId = await recordLearner(connections, minutelyEntries(3));
    const { nextPageToken } = await client().listEntries({ userId, pageSize: 1 });
    const characters = Array.from(nextPageToken);
    for (const [index, character] of characters.entries()) {
      const pageToken = characters.with(index, character === "A" ? "B" : "A").join("");
      await refuse({ userId, pageToken });
    }
    for (const pageToken of [nextPageToken.slice(1), nextPageToken.slice(0, -1), `${nextPageToken}A`]) {
      await refuse({ userId, pageToken });
    }
  });

  test.for([
    ["an invalid time", ["yesterday", randomUUID()]],
    ["a time that PostgreSQL cannot store", ["9".repeat(30), randomUUID()]],
    ["an invalid request_id", ["1704067200000000", "42"]],
    ["an incomplete position", ["1704067200000000"]],
    ["an empty position", []],
  ] as const)("that is forged with %s", async ([, position]) => {
    await refuse({
      userId: "u",
      pageToken: encodePageToken(["ListEntries", "u", undefined, undefined], position),
    });
  });

  test("that is forged to read entries after `to`", async () => {
    const userId = await recordLearner(connections, minutelyEntries(3));
    const to = 1_704_067_200n;
    const binding = ["ListEntries", userId, undefined, to * 1_000_000n];
    const pageToken = encodePageToken(binding, [String(to * 2_000_000n), randomUUID()]);
    await refuse({ userId, to: { seconds: to }, pageToken });
  });

  test("that is forged to read entries before `from`", async () => {
    const userId = await recordLearner(connections, minutelyEntries(3));
    const from = 1_704_067_200n;
    const binding = ["ListEntries", userId, from * 1_000_000n, undefined];
    const pageToken = encodePageToken(binding, [String(from * 1_000_000n - 1n), randomUUID()]);
    await refuse({ userId, from: { seconds: from }, pageToken });
  });
});

test("ListEntries responds to a plain HTTP GET, as browsers and caches send it", async () => {
  const userId = await recordLearner(connections, minutelyEntries(3));
  const message = encodeURIComponent(JSON.stringify({ userId, pageSize: 2 }));
  const response = await fetch(
    `${service.url}/dailyaggregator.v1.LearningLogService/ListEntries?connect=v1&encoding=json&message=${message}`,
  );
  expect(response.status).toBe(200);
  const answer = (await response.json()) as { entries: unknown[]; nextPageToken: string };
  expect(answer.entries).toMatchObject([
    { userId, wordCount: 1, timestamp: "2024-01-01T00:03:00Z" },
    { userId, wordCount: 1, timestamp: "2024-01-01T00:02:00Z" },
  ]);
  const next = await client().listEntries({ userId, pageSize: 2, pageToken: answer.nextPageToken });
  expect(next.entries).toHaveLength(1);
});

describe("PostgreSQL reads a page as a range of the index, without a sort:", () => {
  const deep = { timestamp: micros("2024-01-01T12:00:00Z"), requestId: randomUUID() };

  test.for([
    ["the first page", {}],
    ["a page far down", { after: deep }],
    ["a page far down, with `from`", { from: micros("2024-01-01T06:00:00Z"), after: deep }],
  ] as const)("%s", async ([, selection]) => {
    const userId = randomUUID();
    const days = { from: "2024-01-01T00:00Z", to: "2024-01-14T21:20Z" };
    await recordManyEntries(pool, { userId, count: 20_000, ...days });
    await pool.query("VACUUM ANALYZE learning_log");
    for (const mode of ["force_custom_plan", "force_generic_plan"]) {
      const plan = await explain(mode, { userId, from: undefined, after: undefined, ...selection });
      const [scan] = plan.Plans;
      expect({ root: plan["Node Type"], scan }).toMatchObject({
        root: "Limit",
        scan: {
          "Node Type": "Index Scan",
          "Scan Direction": "Backward",
          "Index Name": "learning_log_user_id_timestamp_request_id",
          "Actual Rows": 101,
        },
      });
      // The 101 rows are adjacent. All the rows above them would take at least ten times as many blocks.
      expect(scan["Shared Hit Blocks"] + scan["Shared Read Blocks"]).toBeLessThan(30);
    }
  });

  /** The plan by which PostgreSQL reads a page of 100 entries. */
  async function explain(mode: string, selection: ListSelection) {
    const connection = await pool.connect();
    const captured: pg.QueryConfig[] = [];
    const recorder = {
      connect: async () => ({
        query: async (statement: pg.QueryConfig) => {
          captured.push(statement);
          return { rows: [] };
        },
      }),
      release() {},
    };
    try {
      await selectEntries(
        recorder as unknown as ConnectionPool,
        selection,
        101,
        new AbortController().signal,
      );
      const [statement] = captured;
      await connection.query(`SET plan_cache_mode = ${mode}`);
      const { rows } = await connection.query(
        `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${statement?.text}`,
        statement?.values,
      );
      return rows[0]["QUERY PLAN"][0].Plan;
    } finally {
      connection.release(true);
    }
  }
});
