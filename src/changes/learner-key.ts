import { hash } from "node:crypto";

declare const brand: unique symbol;

/**
 * Identifies a learner in notifications: the first 8 hexadecimal digits of the SHA-256 of the user_id. Two learners
 * can have the same key; then a change of either counts as a change of both. The type is branded, so that a user_id
 * cannot be passed as a key by mistake.
 */
export type LearnerKey = string & { readonly [brand]: true };

export function learnerKey(userId: string): LearnerKey {
  // The brand exists in the type only.
  return hash("sha256", userId).slice(0, 8) as LearnerKey;
}

/** A key that was received from another instance. A text that is not a key matches no learner. */
export function receivedLearnerKey(text: string): LearnerKey {
  return text as LearnerKey;
}
