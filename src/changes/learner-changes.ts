import type pg from "pg";
import { bucketMicros } from "../aggregates/bucket.ts";
import type { Notifications } from "../database/notifications.ts";
import { type LearnerKey, learnerKey, receivedLearnerKey } from "./learner-key.ts";
import type { KnownWatches, WatchedLearners } from "./watched-learners.ts";

// To announce a change means to notify every instance of it, in the transaction that makes the change. A created entry
// is announced if an instance may depend on it: if the entry is late, so that a summary of its period may be memoized,
// or if its learner may be watched. Other created entries are not announced. A deletion is always announced.
//
// A memoized summary never lacks an entry that is not announced:
//
// 1. A summary is memoized only if its last period ended at least `memoizableSeconds` before `settledAt`, which is
//    read before the summary's statement is sent.
// 2. Every transaction that got its id before `settledAt` has ended when the statement is sent. So the statement sees
//    all entries that these transactions committed.
// 3. If the statement does not see an entry, the entry's transaction got its id at `settledAt` or later. After that,
//    the transaction compares the entry's timestamp with the same clock, the database's. If the entry belongs in the
//    summary, its timestamp is before the end of the last period, and so more than `lateSeconds` before the clock.
//    So the entry is late, and is announced.
//
// The argument does not depend on how long a transaction waits or takes to commit. It depends on the database's clock:
//
// - If the clock goes backwards, the next heartbeat detects it, and all memoized summaries are discarded (a gap).
// - A heartbeat does not detect a step backwards that is shorter than the time between two heartbeats. Therefore
//   `memoizableSeconds` is larger than `lateSeconds`.
// - The instance that creates an entry does not use the clock for its own memoized summaries. It compares the entry
//   with the periods that it may have memoized. So none of them lacks the entry, even before a heartbeat detects a
//   step.

/**
 * The channel for changes. A payload is a comma-separated list of `learner:first:last`: a learner key, and the
 * numbers of the first and the last bucket that changed, counted from 1970. The payload `*` means that everything may
 * have changed.
 */
export const changesChannel = "daily_aggregator_changes";

/** An entry is late if it is older than this by the database's clock, read after its transaction got its id. */
export const lateSeconds = 30;

/** A summary can be memoized if its last period ended at least this long before {@link Notifications.settledAt}. */
const memoizableSeconds = 60;

/** A range of timestamps whose entries changed, in microseconds since 1970. Both ends are inclusive. */
export interface ChangedRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** The range of all timestamps that an entry can have. */
export const allTime: ChangedRange = { from: 0n, to: 9_223_372_036_800_000_000n };

/** The payload that means that any entry of any learner may have changed. */
const everyChange = "*";

/** Makes every instance discard all memoized summaries and read watched ones again, when the transaction commits. */
export async function announceEverything(client: pg.ClientBase): Promise<void> {
  await client.query("SELECT pg_notify($1, $2)", [changesChannel, everyChange]);
}

/** The payload that announces a change of one learner. */
export function changePayload(userId: string, { from, to }: ChangedRange): string {
  return `${learnerKey(userId)}:${from / bucketMicros}:${to / bucketMicros}`;
}

/** The part of a created entry that is needed here. */
interface CreatedEntry {
  readonly userId: string;
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
}

/** Is notified of the changes of one learner. */
export interface ChangeFollower {
  onChange(range: ChangedRange): void;
  /** Any entry of the learner may have changed. */
  onGap(): void;
}

/**
 * Notifies followers in this process of changes. A change that this instance makes reaches them before the call is
 * answered. A change that another instance makes reaches them when this instance receives the announcement.
 */
export class LearnerChanges {
  readonly watched: WatchedLearners;
  readonly #notifications: Notifications;
  readonly #followers = new Map<LearnerKey, Set<ChangeFollower>>();
  /** No summary that this instance has memoized ends after this time, in microseconds since 1970. */
  #memoizedUntil = 0n;

  constructor(notifications: Notifications, watched: WatchedLearners) {
    this.watched = watched;
    this.#notifications = notifications;
    notifications.subscribe(changesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => this.#gap(),
    });
  }

  /** Whether all announced changes have been received, except those of the last half second. */
  isCurrent(): boolean {
    return this.#notifications.isCurrent();
  }

  /**
   * Call it before the summary's statement is sent.
   *
   * @returns the latest time, in microseconds since 1970, at which the last period of a memoizable summary may end;
   * undefined if no summary can be memoized
   */
  memoizableUntil(): bigint | undefined {
    const { settledAt } = this.#notifications;
    if (settledAt === undefined) return undefined;
    const until = settledAt - BigInt(memoizableSeconds) * 1_000_000n;
    if (until > this.#memoizedUntil) this.#memoizedUntil = until;
    return until;
  }

  follow(learner: LearnerKey, follower: ChangeFollower): void {
    this.#followers.set(learner, (this.#followers.get(learner) ?? new Set()).add(follower));
  }

  unfollow(learner: LearnerKey, follower: ChangeFollower): void {
    const followers = this.#followers.get(learner);
    followers?.delete(follower);
    if (followers?.size === 0) this.#followers.delete(learner);
  }

  /** Notifies this instance's followers of a committed change of a learner. */
  notify(userId: string, range: ChangedRange): void {
    // Without followers, skip the most expensive part: hashing the user_id.
    if (this.#followers.size === 0) return;
    for (const follower of this.#followers.get(learnerKey(userId)) ?? []) follower.onChange(range);
  }

  /**
   * Notifies this instance's followers of entries that it has created, if their periods may be memoized here or their
   * learners may be watched.
   *
   * @param watches the watches that were known when the entries' statement was sent
   */
  notifyCreated(entries: readonly CreatedEntry[], { userIds, asOf }: KnownWatches): void {
    if (this.#followers.size === 0) return;
    const watched = new Set(userIds);
    for (const { userId, timestamp } of entries) {
      if (asOf === undefined || timestamp < this.#memoizedUntil || watched.has(userId)) {
        this.notify(userId, { from: timestamp, to: timestamp });
      }
    }
  }

  #receive(payload: string): void {
    if (this.#followers.size === 0) return;
    if (payload === everyChange) {
      this.#gap();
      return;
    }
    for (const change of payload.split(",")) {
      const followers = this.#followers.get(receivedLearnerKey(change.slice(0, change.indexOf(":"))));
      if (followers === undefined) continue;
      const range = rangeOf(change);
      for (const follower of followers) follower.onChange(range);
    }
  }

  #gap(): void {
    for (const followers of this.#followers.values()) {
      for (const follower of followers) follower.onGap();
    }
  }
}

/** @param change one item of a payload: `learner:first:last` */
function rangeOf(change: string): ChangedRange {
  const [, first = "", last = ""] = change.split(":");
  return { from: BigInt(first) * bucketMicros, to: (BigInt(last) + 1n) * bucketMicros - 1n };
}
