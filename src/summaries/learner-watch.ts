import { allTime, type ChangedRange, type LearnerChanges } from "../changes/learner-changes.ts";
import { type LearnerKey, learnerKey } from "../changes/learner-key.ts";

/**
 * Follows one learner's changes for one reader, and adds up what the reader has not taken yet: a slow one misses nothing,
 * and nothing piles up for it.
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

  /** Resolves at the next change, or at once if there was one that is not taken yet. */
  get changed(): Promise<void> {
    return this.#wake.promise;
  }

  /** Whether {@link take} has something to give. */
  get hasChanged(): boolean {
    return this.#changed !== undefined;
  }

  /** The time that changed since the last call; undefined if none did. */
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
