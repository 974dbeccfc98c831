import { hash } from "node:crypto";

/**
 * Stands for a learner in a notification: 8 hexadecimal digits, the first of the SHA-256 of the user_id. Two learners may
 * share one; then a change of one counts as the other's, too.
 */
export function learnerKey(userId: string): string {
  return hash("sha256", userId).slice(0, 8);
}
