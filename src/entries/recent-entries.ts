import { LRUCache } from "lru-cache";
import type { Notifications } from "../database/notifications.ts";
import type { StoredEntry } from "./entry.ts";

/** The channel on which the transaction of a deletion notifies every instance of what it deleted. */
export const deletionsChannel = "daily_aggregator_deletions";

/** The payload of a deletion's notification: the deleted entry, or the learner whose entries were deleted. */
export type DeletionNotice = { readonly requestId: string } | { readonly userId: string };

/** For how many of the latest deletions the cache remembers what they deleted. */
const maxDeletions = 10_000;

/** An entry, and the epoch in which it was read. */
interface RememberedEntry {
  readonly stored: StoredEntry;
  readonly epoch: number;
}

/**
 * Caches the entries that were recorded or found most recently, so that a burst of retries is answered without the
 * database.
 *
 * An entry is never returned after its deletion was acknowledged. A deletion notifies every instance. Before it
 * responds, it waits until each instance has received the notification or is no longer current (see
 * {@link Notifications.isCurrent}). While this instance is not current, the cache returns nothing.
 *
 * Every deletion begins an epoch. The cache returns an entry unless it was read before a deletion of its request_id or
 * of its learner's entries. So the cost of a deletion does not depend on the number of cached entries. The cache
 * remembers only what the latest deletions deleted. It returns no entry that was read before an older deletion.
 */
export class RecentEntries {
  /** The number of cache hits. */
  hits = 0;
  readonly #entries: LRUCache<string, RememberedEntry> | undefined;
  readonly #notifications: Notifications;
  #epoch = 0;
  /** Entries that were read before this epoch are not returned. */
  #oldestEpoch = 0;
  /** The epochs that the latest deletions began, oldest first, by request_id or user_id. */
  readonly #deletions = new Map<string, number>();

  /** @param max the maximum number of cached entries; 0 disables the cache */
  constructor(notifications: Notifications, max: number) {
    this.#notifications = notifications;
    this.#entries = max > 0 ? new LRUCache({ max }) : undefined;
    notifications.subscribe(deletionsChannel, {
      onMessage: (payload) => this.forget(JSON.parse(payload)),
      onGap: () => this.#forgetAll(),
    });
  }

  /** The current epoch. Changes with every deletion. */
  get epoch(): number {
    return this.#epoch;
  }

  /** @param requestId in lower case */
  get(requestId: string): StoredEntry | undefined {
    if (!this.#notifications.isCurrent()) return undefined;
    const entry = this.#entries?.get(requestId);
    if (entry === undefined) return undefined;
    if (this.#mayBeDeleted(entry)) {
      this.#entries?.delete(requestId);
      return undefined;
    }
    this.hits += 1;
    return entry.stored;
  }

  /**
   * @param entries as stored in the database
   * @param epoch the {@link epoch} before the statement was sent: a deletion since then may have deleted these entries
   */
  add(entries: Iterable<StoredEntry>, epoch: number): void {
    if (this.#entries === undefined) return;
    for (const stored of entries) {
      const entry = { stored, epoch };
      if (epoch === this.#epoch || !this.#mayBeDeleted(entry)) this.#entries.set(stored.requestId, entry);
    }
  }

  forget(notice: DeletionNotice): void {
    const key = "requestId" in notice ? requestKey(notice.requestId) : userKey(notice.userId);
    this.#epoch += 1;
    this.#deletions.delete(key);
    this.#deletions.set(key, this.#epoch);
    if (this.#deletions.size <= maxDeletions) return;
    for (const [oldestKey, epoch] of this.#deletions) {
      this.#deletions.delete(oldestKey);
      this.#oldestEpoch = epoch;
      break;
    }
  }

  #mayBeDeleted({ stored: { requestId, userId }, epoch }: RememberedEntry): boolean {
    if (epoch < this.#oldestEpoch) return true;
    if (epoch === this.#epoch) return false;
    const deletedAt = (key: string) => this.#deletions.get(key) ?? 0;
    return deletedAt(requestKey(requestId)) > epoch || deletedAt(userKey(userId)) > epoch;
  }

  #forgetAll(): void {
    this.#epoch += 1;
    this.#oldestEpoch = this.#epoch;
    this.#deletions.clear();
    this.#entries?.clear();
  }
}

// The prefixes distinguish the two, because a user_id can look like a request_id.

function requestKey(requestId: string): string {
  return `r${requestId}`;
}

function userKey(userId: string): string {
  return `u${userId}`;
}
