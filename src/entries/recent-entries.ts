import { LRUCache } from "lru-cache";
import type { Notifications } from "../database/notifications.ts";
import type { StoredEntry } from "./entry.ts";

/** The channel on which a deletion tells every instance what was deleted, in its own transaction. */
export const deletionsChannel = "daily_aggregator_deletions";

/** What a deletion tells: the entry, or the learner all of whose entries went. */
export type DeletionNotice = { readonly requestId: string } | { readonly userId: string };

/** How many deletions are known by what they deleted. */
const maxDeletions = 10_000;

/** An entry, and the epoch that it was read in. */
interface RememberedEntry {
  readonly stored: StoredEntry;
  readonly epoch: number;
}

/**
 * The entries that were recorded or met last, so that a storm of retries is answered without the database.
 *
 * It cannot outlive a deletion: the one who deletes tells every instance and waits until none can be without the news
 * (see {@link Notifications.isCurrent}) before it answers. Without a connection for the news nothing is found here.
 *
 * Every deletion begins an epoch. An entry is found unless it was read before the deletion of its request_id or of its
 * learner; so a deletion costs the same however many entries are kept. Of the latest deletions it is known what they
 * deleted; whatever was read before those is not found.
 */
export class RecentEntries {
  /** How many were found here. */
  hits = 0;
  readonly #entries: LRUCache<string, RememberedEntry> | undefined;
  readonly #notifications: Notifications;
  #epoch = 0;
  /** What was read before this epoch is not found. */
  #oldestEpoch = 0;
  /** The epochs that the latest deletions began, the oldest first, by request_id or user_id. */
  readonly #deletions = new Map<string, number>();

  /** @param max how many are kept; 0 keeps none */
  constructor(notifications: Notifications, max: number) {
    this.#notifications = notifications;
    this.#entries = max > 0 ? new LRUCache({ max }) : undefined;
    notifications.subscribe(deletionsChannel, {
      onMessage: (payload) => this.forget(JSON.parse(payload)),
      onGap: () => this.#forgetAll(),
    });
  }

  /** Changes with every deletion. */
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
   * @param entries as the database has them
   * @param epoch the one from before the database was asked: a deletion since then may have been of these
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

// A user_id can look like a request_id.

function requestKey(requestId: string): string {
  return `r${requestId}`;
}

function userKey(userId: string): string {
  return `u${userId}`;
}
