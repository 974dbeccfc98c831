import { hash } from "node:crypto";

declare const brand: unique symbol;

/**
 * Stands for a learner in a notification: the first 8 hexadecimal digits of the SHA-256 of the user_id. Two learners can
 * share a key; then a change of one counts as a change of the other. A user_id is no key, though both are strings.
 */
export type LearnerKey = string & { readonly [brand]: true };

export function learnerKey(userId: string): LearnerKey {
  // The brand exists in types only.
  return hash("sha256", userId).slice(0, 8) as LearnerKey;
}

/** A key as another instance sent it. Any other text is the key of no learner. */
export function receivedLearnerKey(text: string): LearnerKey {
  return text as LearnerKey;
}
