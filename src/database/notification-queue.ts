import type pg from "pg";
import { isNotificationQueueFull } from "./sqlstate.ts";

/**
 * Frees the queue of notifications if the error means that it is full; does nothing on any other error.
 *
 * PostgreSQL frees the part that all listeners have read when a notification is sent, which is not possible while the
 * queue is full. `pg_notification_queue_usage()` frees it, too.
 *
 * @param client the connection on which the error occurred
 */
export async function freeFullQueue(client: pg.ClientBase, error: unknown): Promise<void> {
  if (!isNotificationQueueFull(error)) return;
  await client.query("SELECT pg_notification_queue_usage()").catch(() => {});
}
