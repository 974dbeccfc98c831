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

/** One call, or one batch of a stream: acknowledged or not as a whole. */
interface Sending {
  readonly entries: readonly SentEntry[];
  readonly kind: "single" | "batch";
  acknowledged: boolean;
}

/** An hour's worth of every day of some weeks: with several hundred users, thousands of aggregates. */
const earliest = 1_760_000_000_000_000n;
const buckets = 40;

/** What callers sent, and what of it they were told is there. */
export class Ledger {
  readonly #random: Random;
  readonly #sendings: Sending[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  get acknowledgedEntries(): number {
    return this.#countEntries(({ acknowledged }) => acknowledged);
  }

  get unacknowledgedEntries(): number {
    return this.#countEntries(({ acknowledged }) => !acknowledged);
  }

  /** To be called before the entries are sent. */
  begin(kind: Sending["kind"], size: number): Sending {
    const sending = {
      kind,
      entries: Array.from({ length: size }, () => this.#newEntry()),
      acknowledged: false,
    };
    this.#sendings.push(sending);
    return sending;
  }

  /** Every entry that was acknowledged is in the log, with its payload. */
  async expectAcknowledgedThere(client: pg.ClientBase): Promise<void> {
    const stored = await readLog(client);
    const wrong = this.#entries(({ acknowledged }) => acknowledged).filter(
      (entry) => stored.get(entry.requestId) !== fingerprint(entry),
    );
    expect(wrong, `${wrong.length} acknowledged entries are lost or differ`).toEqual([]);
  }

  /** The log has what was sent, and nothing else. */
  async expectAllThere(client: pg.ClientBase): Promise<void> {
    const stored = await readLog(client);
    const sent = this.#entries(() => true);
    const wrong = sent.filter((entry) => stored.get(entry.requestId) !== fingerprint(entry));
    expect(wrong, `${wrong.length} entries are lost or differ`).toEqual([]);
    expect(stored.size).toBe(sent.length);
  }

  /** Sends again what was not acknowledged. Each entry is new or a match; a batch is there as a whole or not at all. */
  async retryUnacknowledged(client: LearningLogClient): Promise<void> {
    const open = this.#sendings.filter(({ acknowledged }) => !acknowledged);
    // A few at a time: what is waited for is the answer, not the load.
    while (open.length > 0)
      await Promise.all(open.splice(0, 64).map((sending) => this.#retry(client, sending)));
  }

  async #retry(client: LearningLogClient, sending: Sending): Promise<void> {
    const entries = sending.entries.map(createRequest);
    const [first] = entries;
    if (sending.kind === "single" && first) {
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
      expect([0, entries.length], "a part of a batch was there").toContain(createdCount);
      expect(createdCount + duplicates.length).toBe(entries.length);
      expect(duplicates.filter(({ conflict }) => !conflict?.payloadMatches)).toEqual([]);
    }
    sending.acknowledged = true;
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

  #entries(matches: (sending: Sending) => boolean): SentEntry[] {
    return this.#sendings.filter(matches).flatMap(({ entries }) => entries);
  }

  #countEntries(matches: (sending: Sending) => boolean): number {
    return this.#sendings.filter(matches).reduce((sum, { entries }) => sum + entries.length, 0);
  }
}

/** The entry as it is sent. */
export function createRequest(entry: SentEntry): MessageInitShape<typeof CreateEntryRequestSchema> {
  return { ...entry, timestamp: timestampFromMicros(entry.timestamp) };
}

/** The payloads of the ledger's learners, by request_id; others record entries, too. */
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
