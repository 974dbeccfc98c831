import { allTime, type ChangedRange, type LearnerChanges } from "../changes/learner-changes.ts";
import { type LearnerKey, learnerKey } from "../changes/learner-key.ts";

/**
 * Follows one learner's changes for one reader. Merges the changes that the reader has not taken yet into one range,
 * so a slow reader misses nothing, and nothing is queued for it.
 */
export class LearnerWatch {
  readonly #changes: LearnerChanges;
  readonly #learner: LearnerKey;
  #changed: ChangedRange | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(changes: LearnerChanges, userId: string) {
    this.#changes = changes;
    this.#learner = learnerKey(userId);
    changes.follow(this.#learner, this);
    changes.watched.add(this.#learner, this);
  }

  /** Resolves at the next change, or at once if there is a change that has not been taken yet. */
  get changed(): Promise<void> {
    return this.#wake.promise;
  }

  /** Whether there is a change that {@link take} has not returned yet. */
  get hasChanged(): boolean {
    return this.#changed !== undefined;
  }

  /** Returns a range that covers all changes since the last call; undefined if there were none. */
  take(): ChangedRange | undefined {
    const changed = this.#changed;
    this.#changed = undefined;
    this.#wake = Promise.withResolvers();
    return changed;
  }

  onChange({ from, to }: ChangedRange): void {
    const before = this.#changed ?? { from, to };
    this.#changed = {
      from: from < before.from ? from : before.from,
      to: to > before.to ? to : before.to,
    };
    this.#wake.resolve();
  }

  onGap(): void {
    this.onChange(allTime);
  }

  close(): void {
    this.#changes.unfollow(this.#learner, this);
    this.#changes.watched.remove(this.#learner, this);
  }
}
