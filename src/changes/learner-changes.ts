import type pg from "pg";
import { bucketMicros } from "../aggregates/bucket.ts";
import type { Notifications } from "../database/notifications.ts";
import { type LearnerKey, learnerKey, receivedLearnerKey } from "./learner-key.ts";
import type { KnownWatches, WatchedLearners } from "./watched-learners.ts";

// A transaction that changes a learner's entries announces it to every instance, if that matters to one of them: if an
// entry is late, so that a summary it belongs to may be memoized somewhere, or if somebody may be watching that learner.
// All other writes at the present time are not announced.
//
// No memoized summary misses an entry that is not announced:
//
// 1. A summary is memoized only if its last period ended a while before `settledAt`, read before its statement was sent.
//    So every transaction that had its id by then has ended, and the statement sees its entries.
// 2. A transaction whose entry the statement does not see got its id later. It decides whether the entry is late after
//    that, by the same clock. So an entry in one of these periods is late, and announced.
//
// It does not matter how long a transaction waits or commits. If the clock goes back, the next heartbeat finds that out,
// and everything starts anew. It does not find a clock that goes back by less than the time between two heartbeats: for
// that, `memoizableSeconds` is more than `lateSeconds`. Before then, the instance that writes goes by what it may itself
// have memoized, and by no clock.

/**
 * The channel; a payload is a list, separated by commas, of `learner:first:last` with the learner's key and the first and
 * last quarter of an hour that changed, counted from 1970; or `*`, for all that there is.
 */
export const changesChannel = "daily_aggregator_changes";

/** An entry is late if its timestamp is this much before the database's clock once its transaction has an id. */
export const lateSeconds = 30;

/** A summary can be memoized if its last period ended this much before {@link Notifications.settledAt}. */
const memoizableSeconds = 60;

/** The time that changed, from and to in microseconds since 1970, both included. */
export interface ChangedRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** All the time that entries can have. */
export const allTime: ChangedRange = { from: 0n, to: 9_223_372_036_800_000_000n };

/** The payload that stands for any change of any learner. */
const everyChange = "*";

/** Has every instance forget all summaries that it memoized, once the client's transaction is committed. */
export async function announceEverything(client: pg.ClientBase): Promise<void> {
  await client.query("SELECT pg_notify($1, $2)", [changesChannel, everyChange]);
}

/** The payload for one learner. */
export function changePayload(userId: string, { from, to }: ChangedRange): string {
  return `${learnerKey(userId)}:${from / bucketMicros}:${to / bucketMicros}`;
}

/** A new entry, as far as it matters here. */
interface CreatedEntry {
  readonly userId: string;
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
}

/** Who wants to know of one learner's changes. */
export interface ChangeFollower {
  onChange(range: ChangedRange): void;
  /** Anything of the learner may have changed. */
  onGap(): void;
}

/** Hears of changes: of this instance's before the call is answered, of the others' by notification. */
export class LearnerChanges {
  readonly watched: WatchedLearners;
  readonly #notifications: Notifications;
  readonly #followers = new Map<LearnerKey, Set<ChangeFollower>>();
  /** No summary that this instance may have memoized ends later; microseconds since 1970. */
  #memoizedUntil = 0n;

  constructor(notifications: Notifications, watched: WatchedLearners) {
    this.watched = watched;
    this.#notifications = notifications;
    notifications.subscribe(changesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => this.#gap(),
    });
  }

  /** Whether the other instances' changes are heard of, but for those of the last moment. */
  isCurrent(): boolean {
    return this.#notifications.isCurrent();
  }

  /**
   * To be asked before a summary's statement is sent.
   *
   * @returns up to which end, in microseconds since 1970, the summary can be memoized; undefined if it cannot
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

  /** This instance has committed a change of that learner. */
  announce(userId: string, range: ChangedRange): void {
    // A learner's key takes longer to make than all else here.
    if (this.#followers.size === 0) return;
    for (const follower of this.#followers.get(learnerKey(userId)) ?? []) follower.onChange(range);
  }

  /**
   * This instance has committed new entries.
   *
   * @param watches as they were known before that
   */
  announceCreated(entries: readonly CreatedEntry[], { userIds, asOf }: KnownWatches): void {
    if (this.#followers.size === 0) return;
    const watched = new Set(userIds);
    for (const { userId, timestamp } of entries) {
      if (asOf === undefined || timestamp < this.#memoizedUntil || watched.has(userId)) {
        this.announce(userId, { from: timestamp, to: timestamp });
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

/** @param change of a payload, as in `learner:first:last` */
function rangeOf(change: string): ChangedRange {
  const [, first = "", last = ""] = change.split(":");
  return { from: BigInt(first) * bucketMicros, to: (BigInt(last) + 1n) * bucketMicros - 1n };
}
