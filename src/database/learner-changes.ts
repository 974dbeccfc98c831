import { learnerKey } from "./learner-key.ts";
import type { Notifications } from "./notifications.ts";
import type { WatchedLearners } from "./watched-learners.ts";

// A transaction that changes a learner's entries tells every instance, if that matters to one of them: if an entry is
// late, so that a summary it belongs to may be memoized somewhere, or if somebody watches that learner. All other writes
// at the present time tell nobody.

/**
 * The channel; a payload is a list, separated by commas, of `learner:first:last` with the learner's key and the first and
 * last quarter of an hour that changed, counted from 1970; or `*`, for all that there is.
 */
export const changesChannel = "daily_aggregator_changes";

/** An entry is late if its timestamp is this much before the beginning of the transaction, by the database's clock. */
export const lateSeconds = 30;

/**
 * A summary can be memoized if its last period ended this much before its snapshot, by the database's clock. It is more
 * than {@link lateSeconds} and the longest statement together. So an entry that was not late when its transaction
 * began lies after the end of every summary that was memoized before the commit.
 */
export const settlingSeconds = 90;

/** The time that changed, from and to in microseconds since 1970, both included. */
export interface ChangedRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** All the time that entries can have. */
export const allTime: ChangedRange = { from: 0n, to: 9_223_372_036_800_000_000n };

/** The payload that stands for any change of any learner. */
export const everyChange = "*";

/** The payload for one learner. */
export function changePayload(userId: string, { from, to }: ChangedRange): string {
  return `${learnerKey(userId)}:${from / quarterMicros}:${to / quarterMicros}`;
}

const quarterMicros = 900_000_000n;

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
  readonly #followers = new Map<string, Set<ChangeFollower>>();

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

  /** @param learner a learner key */
  follow(learner: string, follower: ChangeFollower): void {
    this.#followers.set(learner, (this.#followers.get(learner) ?? new Set()).add(follower));
  }

  unfollow(learner: string, follower: ChangeFollower): void {
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

  #receive(payload: string): void {
    if (this.#followers.size === 0) return;
    if (payload === everyChange) {
      this.#gap();
      return;
    }
    for (const change of payload.split(",")) {
      const followers = this.#followers.get(change.slice(0, change.indexOf(":")));
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
  return { from: BigInt(first) * quarterMicros, to: (BigInt(last) + 1n) * quarterMicros - 1n };
}
