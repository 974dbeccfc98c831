import { EventEmitter, on } from "node:events";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Clock, processClock } from "../clock.ts";
import { measureBusyness } from "../telemetry/busyness.ts";

/** Whether the service can answer calls, and if not, why. */
export type ReadinessState = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** Settings for tests. */
interface ReadinessOptions {
  /** The pause between two probes, in milliseconds. */
  readonly intervalMs?: number;
  /** How long the database may take to answer a probe before it counts as unavailable, in milliseconds. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

const unavailable = "the database is unavailable";

/**
 * Whether this instance should receive calls.
 *
 *     starting ──> ready <──> not ready      by the result of a probe, every two seconds
 *     any of these ──> draining              final
 *
 * Health checks read the last result, so that their number does not affect the load on the database.
 */
export class Readiness {
  #state: ReadinessState = { ready: false, reason: "starting" };
  readonly #probe: () => Promise<string | undefined>;
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #draining = new AbortController();
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  /** @param probe returns why the service cannot answer calls; undefined if it can */
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

  /** Starts to probe, and repeats that until the service drains. Resolves after the first probe. */
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
    const state = await this.#runProbe();
    if (state !== undefined && !this.#draining.signal.aborted) this.#set(state);
  }

  /** @returns undefined if this process was too busy for a valid result, so that the last result stays */
  async #runProbe(): Promise<ReadinessState | undefined> {
    const isBusy = measureBusyness();
    const answered = new AbortController();
    const timeout = this.#clock.sleep(this.#timeoutMs, answered.signal);
    try {
      return await Promise.race([
        this.#probe().then(stateFor),
        timeout.then(() => (isBusy() ? undefined : stateFor(unavailable))),
      ]);
    } catch (error) {
      const isOverloaded = error instanceof ConnectError && error.code === Code.ResourceExhausted;
      return isOverloaded ? undefined : stateFor(unavailable);
    } finally {
      answered.abort();
    }
  }

  /** Sets the state to not ready, for good. Iterations over {@link changes} yield if that is a change, and then end. */
  drain(): void {
    this.#set({ ready: false, reason: "shutting down" });
    this.#draining.abort();
  }

  /** Yields at once, and after each change of `state.ready`, until the signal aborts or the service drains. */
  async *changes(signal: AbortSignal): AsyncIterable<void> {
    const ended = AbortSignal.any([signal, this.#draining.signal]);
    // Subscribes before the first yield, so that no change is lost while the consumer handles it.
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

/** @param reason why the service cannot answer calls; undefined if it can */
function stateFor(reason: string | undefined): ReadinessState {
  return reason === undefined ? { ready: true } : { ready: false, reason };
}
