import { LRUCache } from "lru-cache";
import type { Notifications } from "../database/notifications.ts";
import type { StoredEntry } from "./entry.ts";

/** The channel on which a deletion tells every instance what was deleted, in its own transaction. */
export const deletionsChannel = "daily_aggregator_deletions";

/** What a deletion tells: the entry, or the learner all of whose entries went. */
export type DeletionNotice = { readonly requestId: string } | { readonly userId: string };

/**
 * The entries that were recorded or met last, so that a storm of retries is answered without the database.
 *
 * It cannot outlive a deletion: the one who deletes tells every instance and waits until none can be without the news
 * (see {@link Notifications.isCurrent}) before it answers. Without a connection for the news nothing is found here.
 */
export class RecentEntries {
  /** How many were found here. */
  hits = 0;
  readonly #entries: LRUCache<string, StoredEntry> | undefined;
  readonly #notifications: Notifications;
  #epoch = 0;

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
    if (entry) this.hits += 1;
    return entry;
  }

  /**
   * @param entries as the database has them
   * @param epoch the one from before the database was asked: if there was a deletion since, it may have been of these
   */
  add(entries: Iterable<StoredEntry>, epoch: number): void {
    if (this.#entries === undefined || epoch !== this.#epoch) return;
    for (const entry of entries) this.#entries.set(entry.requestId, entry);
  }

  forget(notice: DeletionNotice): void {
    this.#epoch += 1;
    if ("requestId" in notice) {
      this.#entries?.delete(notice.requestId);
      return;
    }
    for (const { requestId, userId } of this.#entries?.values() ?? []) {
      if (userId === notice.userId) this.#entries?.delete(requestId);
    }
  }

  #forgetAll(): void {
    this.#epoch += 1;
    this.#entries?.clear();
  }
}
