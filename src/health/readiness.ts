import { EventEmitter, on } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { measureBusyness } from "../telemetry/busyness.ts";

/** Whether calls can be answered, and if not, why. */
export type ReadinessState = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** How often what the service depends on is looked at. */
const probeIntervalMs = 2_000;

/** A database that takes this long to answer is as good as away. */
const probeTimeoutMs = 5_000;

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
  #timer: NodeJS.Timeout | undefined;

  /** @param probe finds out why calls cannot be answered; undefined if they can */
  constructor(probe: () => Promise<string | undefined>) {
    this.#probe = probe;
  }

  get state(): ReadinessState {
    return this.#state;
  }

  /** Aborted when the service drains. */
  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  /** Looks for the first time, and then regularly. */
  async start(): Promise<void> {
    const found = await this.#look();
    if (this.#draining.signal.aborted) return;
    if (found !== undefined) this.#set(found);
    this.#timer = setTimeout(() => this.start(), probeIntervalMs).unref();
  }

  /** @returns undefined if this process is too busy to tell, so that the last finding stays */
  async #look(): Promise<ReadinessState | undefined> {
    const isBusy = measureBusyness();
    const timeout = sleep(probeTimeoutMs, undefined, { ref: false });
    try {
      return await Promise.race([
        this.#probe().then(stateFor),
        timeout.then(() => (isBusy() ? undefined : stateFor(away))),
      ]);
    } catch (error) {
      const isOverloaded = error instanceof ConnectError && error.code === Code.ResourceExhausted;
      return isOverloaded ? undefined : stateFor(away);
    }
  }

  /** From now on it is not ready; whoever follows the changes hears that, and then the end. */
  drain(): void {
    clearTimeout(this.#timer);
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
