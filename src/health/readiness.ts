import { EventEmitter, on } from "node:events";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Clock, processClock } from "../clock.ts";
import { measureBusyness } from "../telemetry/busyness.ts";

/** Whether calls can be answered, and if not, why. */
export type ReadinessState = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** What a test can set. */
interface ReadinessOptions {
  /** The pause between two probes, in milliseconds. */
  readonly intervalMs?: number;
  /** A database that takes this long to answer a probe counts as away, in milliseconds. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

const away = "the database is away";

/**
 * Whether this instance should get calls.
 *
 *     starting ──> ready <──> not ready      by what the probe finds, every two seconds
 *         any of them ──> draining           for good
 *
 * Those who ask read the last finding, so that no number of askers burdens the database.
 */
export class Readiness {
  #state: ReadinessState = { ready: false, reason: "starting" };
  readonly #probe: () => Promise<string | undefined>;
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #draining = new AbortController();
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  /** @param probe finds out why calls cannot be answered; undefined if they can */
  constructor(probe: () => Promise<string | undefined>, options: ReadinessOptions = {}) {
    const { intervalMs = 2_000, timeoutMs = 5_000, clock = processClock } = options;
    this.#probe = probe;
    this.#intervalMs = intervalMs;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  get state(): ReadinessState {
    return this.#state;
  }

  /** Aborted when the service drains. */
  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  /** Probes, and then again and again until it drains. Resolves after the first probe. */
  async start(): Promise<void> {
    await this.#update();
    void this.#repeat();
  }

  async #repeat(): Promise<void> {
    const { signal } = this.#draining;
    for (;;) {
      await this.#clock.sleep(this.#intervalMs, signal);
      if (signal.aborted) return;
      await this.#update();
    }
  }

  async #update(): Promise<void> {
    const found = await this.#look();
    if (found !== undefined && !this.#draining.signal.aborted) this.#set(found);
  }

  /** @returns undefined if this process is too busy to tell, so that the last finding stays */
  async #look(): Promise<ReadinessState | undefined> {
    const isBusy = measureBusyness();
    const answered = new AbortController();
    const timeout = this.#clock.sleep(this.#timeoutMs, answered.signal);
    try {
      return await Promise.race([
        this.#probe().then(stateFor),
        timeout.then(() => (isBusy() ? undefined : stateFor(away))),
      ]);
    } catch (error) {
      const isOverloaded = error instanceof ConnectError && error.code === Code.ResourceExhausted;
      return isOverloaded ? undefined : stateFor(away);
    } finally {
      answered.abort();
    }
  }

  /** From now on it is not ready; whoever follows the changes hears that, and then the end. */
  drain(): void {
    this.#set({ ready: false, reason: "shutting down" });
    this.#draining.abort();
  }

  /** Yields at once and after each change, until the signal aborts or the service drains. */
  async *changes(signal: AbortSignal): AsyncIterable<void> {
    const ended = AbortSignal.any([signal, this.#draining.signal]);
    // From before the first answer, so that no change is lost while that one is on its way.
    const changes = ended.aborted ? [] : on(this.#changes, "change", { signal: ended });
    yield;
    try {
      for await (const _ of changes) yield;
    } catch (error) {
      if (!ended.aborted) throw error;
    }
  }

  #set(state: ReadinessState): void {
    const changed = state.ready !== this.#state.ready;
    this.#state = state;
    if (changed) this.#changes.emit("change");
  }
}

/** @param reason why calls cannot be answered; undefined if they can */
function stateFor(reason: string | undefined): ReadinessState {
  return reason === undefined ? { ready: true } : { ready: false, reason };
}
