import { setTimeout as sleep } from "node:timers/promises";
import { leaseMs } from "../../../src/database/notifications.ts";
import {
  countNotificationLinks,
  cutNotifications,
  waitForCut,
  waitForNotifications,
} from "../../support/notification-links.ts";
import type { TestDatabase } from "../../support/test-database.ts";

/** The shortest time that the instances listen between two cuts, in milliseconds, so that they can memoize answers. */
const restMs = 1_000;

/** The times when no instance receives notifications. */
export class NotificationGaps {
  readonly #database: TestDatabase;
  readonly #instances: number;
  /** Pending until the instances have listened again for {@link restMs}; then undefined. */
  #resting: Promise<unknown> | undefined;
  #closed: Promise<void> = Promise.resolve();
  /** When the connections were found closed, in milliseconds of `performance.now()`; Infinity while they are open. */
  #closedAt = Number.POSITIVE_INFINITY;

  constructor(database: TestDatabase, instances: number) {
    this.#database = database;
    this.#instances = instances;
  }

  /** Breaks the connections of all instances, without waiting until they detect it. Does nothing soon after a cut. */
  async cut(): Promise<void> {
    if (this.#resting) return;
    const closed = Promise.withResolvers<void>();
    this.#closed = closed.promise;
    this.#resting = this.#closed
      .then(() => sleep(restMs))
      .then(() => {
        this.#resting = undefined;
      });
    await cutNotifications(this.#database);
    void this.#follow().then(closed.resolve, closed.reject);
  }

  /** Resolves when all instances listen. */
  async closed(): Promise<void> {
    await this.#closed;
  }

  /** Whether all instances have known since a time, of `performance.now()`, that they receive no notifications. */
  async lastedSince(time: number): Promise<boolean> {
    return time > this.#closedAt + leaseMs && (await countNotificationLinks(this.#database)) === 0;
  }

  async #follow(): Promise<void> {
    await waitForCut(this.#database);
    this.#closedAt = performance.now();
    await waitForNotifications(this.#database, this.#instances);
    this.#closedAt = Number.POSITIVE_INFINITY;
  }
}
