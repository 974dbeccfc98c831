import { setTimeout as sleep } from "node:timers/promises";
import { leaseMs } from "../../../src/database/notifications.ts";
import {
  countNotificationLinks,
  cutNotifications,
  waitForCut,
  waitForNotifications,
} from "../../support/notification-links.ts";
import type { TestDatabase } from "../../support/test-database.ts";

/** How long the instances listen, at least, from one cut to the next: else there would be little in their memories. */
const restMs = 1_000;

/** The times when neither instance hears of the other's writes. */
export class NotificationGaps {
  readonly #database: TestDatabase;
  readonly #instances: number;
  /** Until both listen again, and have done so for a while. */
  #resting: Promise<unknown> | undefined;
  #closed: Promise<void> = Promise.resolve();
  /** When the connections were seen to be gone, in milliseconds of `performance.now()`. */
  #goneAt = Number.POSITIVE_INFINITY;

  constructor(database: TestDatabase, instances: number) {
    this.#database = database;
    this.#instances = instances;
  }

  /** Cuts the connections of both, and does not wait until they notice; does nothing if a cut was not long ago. */
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

  /** Resolves once both listen. */
  async closed(): Promise<void> {
    await this.#closed;
  }

  /** Whether both have known since then that they do not hear of each other's writes. */
  async lastedSince(time: number): Promise<boolean> {
    return time > this.#goneAt + leaseMs && (await countNotificationLinks(this.#database)) === 0;
  }

  async #follow(): Promise<void> {
    await waitForCut(this.#database);
    this.#goneAt = performance.now();
    await waitForNotifications(this.#database, this.#instances);
    this.#goneAt = Number.POSITIVE_INFINITY;
  }
}
