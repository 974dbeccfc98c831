import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import { expect } from "vitest";
import type { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { bucketMicros } from "../../src/aggregates/bucket.ts";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { conflictOf } from "../support/failures.ts";
import type { Random } from "../support/random.ts";

/** An entry that a caller sent. */
export interface SentEntry {
  readonly requestId: string;
  readonly userId: string;
  readonly wordCount: number;
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
}

/** The entries of a call, or of a batch in a stream. They are acknowledged together. */
interface Submission {
  readonly entries: readonly SentEntry[];
  readonly kind: "single" | "batch";
  acknowledged: boolean;
}

/** The entries of 300 learners are spread over ten hours, so that there are thousands of aggregates. */
const earliest = 1_760_000_000_000_000n;
const buckets = 40;

/** Records which entries callers sent, and which of them were acknowledged. */
export class Ledger {
  readonly #random: Random;
  readonly #submissions: Submission[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  get acknowledgedEntries(): number {
    return this.#countEntries(({ acknowledged }) => acknowledged);
  }

  get unacknowledgedEntries(): number {
    return this.#countEntries(({ acknowledged }) => !acknowledged);
  }

  /** Creates random entries. Call it before you send them. */
  begin(kind: Submission["kind"], size: number): Submission {
    const submission = {
      kind,
      entries: Array.from({ length: size }, () => this.#newEntry()),
      acknowledged: false,
    };
    this.#submissions.push(submission);
    return submission;
  }

  /** Checks that every acknowledged entry is in the log, with its payload. */
  async expectAcknowledgedThere(client: pg.ClientBase): Promise<void> {
    const stored = await readLog(client);
    const wrong = this.#entries(({ acknowledged }) => acknowledged).filter(
      (entry) => stored.get(entry.requestId) !== fingerprint(entry),
    );
    expect(wrong, `${wrong.length} acknowledged entries are lost or differ`).toEqual([]);
  }

  /** Checks that the log has exactly the entries that were sent. */
  async expectAllThere(client: pg.ClientBase): Promise<void> {
    const stored = await readLog(client);
    const sent = this.#entries(() => true);
    const wrong = sent.filter((entry) => stored.get(entry.requestId) !== fingerprint(entry));
    expect(wrong, `${wrong.length} entries are lost or differ`).toEqual([]);
    expect(stored.size).toBe(sent.length);
  }

  /**
   * Sends all unacknowledged entries again. Checks that each is new or matches the stored one, and that a batch was
   * stored as a whole or not at all.
   */
  async retryUnacknowledged(client: LearningLogClient): Promise<void> {
    const open = this.#submissions.filter(({ acknowledged }) => !acknowledged);
    // A few at a time, because this is not a load test.
    while (open.length > 0)
      await Promise.all(open.splice(0, 64).map((submission) => this.#retry(client, submission)));
  }

  async #retry(client: LearningLogClient, submission: Submission): Promise<void> {
    const entries = submission.entries.map(createRequest);
    const [first] = entries;
    if (submission.kind === "single" && first) {
      try {
        await client.createEntry(first, { timeoutMs: 20_000 });
      } catch (error) {
        const failure = ConnectError.from(error);
        expect(failure.code, `a retry got ${failure}`).toBe(Code.AlreadyExists);
        expect(conflictOf(failure)?.payloadMatches, `a retry got ${failure}`).toBe(true);
      }
    } else {
      const { createdCount, duplicates } = await client.batchCreateEntries(
        { entries },
        { timeoutMs: 20_000 },
      );
      expect([0, entries.length], "only a part of a batch was stored").toContain(createdCount);
      expect(createdCount + duplicates.length).toBe(entries.length);
      expect(duplicates.filter(({ conflict }) => !conflict?.payloadMatches)).toEqual([]);
    }
    submission.acknowledged = true;
  }

  #newEntry(): SentEntry {
    const bucket = BigInt(this.#random.integer(0, buckets - 1));
    return {
      requestId: randomUUID(),
      userId: `user ${this.#random.integer(1, 300)}`,
      wordCount: this.#random.integer(0, 1000),
      timestamp: earliest + bucket * bucketMicros + BigInt(this.#random.integer(0, 899_999_999)),
    };
  }

  #entries(matches: (submission: Submission) => boolean): SentEntry[] {
    return this.#submissions.filter(matches).flatMap(({ entries }) => entries);
  }

  #countEntries(matches: (submission: Submission) => boolean): number {
    return this.#submissions.filter(matches).reduce((sum, { entries }) => sum + entries.length, 0);
  }
}

/** The request that records the entry. */
export function createRequest(entry: SentEntry): MessageInitShape<typeof CreateEntryRequestSchema> {
  return { ...entry, timestamp: timestampFromMicros(entry.timestamp) };
}

/** The payloads of the ledger's learners, by request_id. The log also has entries of other learners. */
async function readLog(client: pg.ClientBase): Promise<Map<string, string>> {
  const { rows } = await client.query<[string, string]>({
    text: `
      SELECT request_id, concat_ws(' | ', user_id, word_count, (extract(epoch FROM timestamp) * 1000000)::bigint)
      FROM learning_log
      WHERE user_id LIKE 'user %'`,
    rowMode: "array",
  });
  return new Map(rows);
}

function fingerprint({ userId, wordCount, timestamp }: SentEntry): string {
  return [userId, wordCount, timestamp].join(" | ");
}
