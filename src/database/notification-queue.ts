import type pg from "pg";
import { isNotificationQueueFull } from "./sqlstate.ts";

/**
 * Frees the queue of notifications if the error means that it is full; does nothing on any other error.
 *
 * When a notification is sent, PostgreSQL frees the part of the queue that all listeners have read. While the queue is
 * full, no notification can be sent. `pg_notification_queue_usage()` frees that part, too.
 *
 * @param client the connection on which the error occurred
 */
export async function freeFullQueue(client: pg.ClientBase, error: unknown): Promise<void> {
  if (!isNotificationQueueFull(error)) return;
  await client.query("SELECT pg_notification_queue_usage()").catch(() => {});
}
