import type pg from "pg";
import { isNotificationQueueFull } from "./sqlstate.ts";

/**
 * Frees the queue of notifications if an error says that it is full. PostgreSQL frees the part that every listener has
 * read when somebody sends, and while the queue is full nobody can. It does so as well when it is asked how full it is.
 *
 * @param client the connection that had the error
 */
export async function freeFullQueue(client: pg.ClientBase, error: unknown): Promise<void> {
  if (!isNotificationQueueFull(error)) return;
  await client.query("SELECT pg_notification_queue_usage()").catch(() => {});
}
