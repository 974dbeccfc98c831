import { randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type pg from "pg";
import { expect } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/health/v1/health_pb.js";
import type { LearningLogClient } from "../support/clients.ts";
import { report } from "./fault-run.ts";
import { type OwnClient, openOwnClient } from "./own-client.ts";

/** What a fault explains, while it lasts. */
export interface Excuse {
  /** Errors that a bystander may get; none if left out. */
  readonly errors?: (error: ConnectError, activity: string) => boolean;
  /** How long a bystander may wait; as ever if left out. */
  readonly waitMs?: number;
}

/** UNAVAILABLE, which is explained while the database or the instance is away. */
export function isUnavailable({ code }: ConnectError): boolean {
  return code === Code.Unavailable;
}

/** RESOURCE_EXHAUSTED, and when to come again, which is explained while others take all there is. */
export function isBusy(error: ConnectError): boolean {
  return error.code === Code.ResourceExhausted && error.findDetails(RetryInfoSchema).length === 1;
}

/** An answer or an error later than this means that the bystander starves; much later than any busy machine explains. */
const usualWaitMs = 5_000;

/** What the slowest of its calls takes before the fault, on a machine that is not overloaded itself. */
const calmWaitMs = 250;

/** Long enough for starvation to show as a wait. */
const callTimeoutMs = 40_000;

const pauseMs = 40;

/** The most connections that a bystander has at one instance. */
export const bystanderSockets = 5;
const daySeconds = 86_400;

interface ActiveExcuse extends Excuse {
  readonly since: number;
  until: number;
}

interface Wait {
  readonly activity: string;
  readonly began: number;
  readonly ended: number;
}

/**
 * Somebody else: another learner, on connections of their own, who writes, reads, watches and asks for health all the
 * while, at every instance. A fault must cost them nothing that it does not explain.
 */
export class Bystander implements AsyncDisposable {
  readonly userId = `bystander ${randomUUID()}`;
  /** How much slower the machine is than it should be, even before the fault; at least 1. */
  #slowness = 1;
  readonly #usualWaitMs: number;
  readonly #seats: readonly Seat[];
  #acting = true;
  readonly #watching = new AbortController();
  readonly #excuses: ActiveExcuse[] = [];
  readonly #surprises: string[] = [];
  readonly #slowest = new Map<string, Wait>();
  readonly #counts = new Map<string, number>();
  #explained = 0;
  #activities: Promise<unknown> = Promise.resolve();
  #watches: Promise<unknown> = Promise.resolve();
  /** The request_ids that were sent, and whether each was acknowledged. */
  readonly #entries = new Map<string, boolean>();
  #acknowledged = 0;
  /** How many entries each watch has shown. */
  readonly #shown = new Map<number, number>();
  /** The acknowledged entries whose numbers a watch has yet to show. */
  readonly #unseen: { readonly watch: number; readonly entries: number; readonly began: number }[] = [];

  private constructor(urls: readonly string[], waitMs: number) {
    this.#usualWaitMs = waitMs;
    this.#seats = urls.map((url) => new Seat(url));
  }

  /**
   * Resolves once each instance has answered everything that the bystander does.
   *
   * @param urls of the instances
   * @param waitMs how long it may wait for anything; in proportion longer on a machine that is slow before the fault
   */
  static async start(urls: readonly string[], waitMs = usualWaitMs): Promise<Bystander> {
    const bystander = new Bystander(urls, waitMs);
    const started = urls.map((_, watch) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      return { promise, watching: bystander.#watch(watch, resolve) };
    });
    bystander.#watches = Promise.all(started.map(({ watching }) => watching));
    await Promise.all(started.map(({ promise }) => promise));
    const activities = bystander.#seats.flatMap((seat) => Object.entries(bystander.#activitiesAt(seat)));
    for (const [, act] of activities) await act();
    for (const [, act] of activities) {
      const began = performance.now();
      await act();
      bystander.#slowness = Math.max(bystander.#slowness, (performance.now() - began) / calmWaitMs);
    }
    bystander.#activities = Promise.all(activities.map(([name, act]) => bystander.#repeat(name, act)));
    return bystander;
  }

  /** A time for a machine as it should be, as long as this one needs. */
  scaled(ms: number): number {
    return ms * this.#slowness;
  }

  /** From now on until it is disposed of, a fault explains what calls meet that are under way meanwhile. */
  excuse(excuse: Excuse): Disposable {
    const active: ActiveExcuse = { ...excuse, since: performance.now(), until: Number.POSITIVE_INFINITY };
    this.#excuses.push(active);
    return {
      [Symbol.dispose]() {
        active.until = performance.now();
      },
    };
  }

  /**
   * Ends what it does, and holds what it met against the bounds.
   *
   * @param client finds what it wrote
   */
  async expectUnharmed(client: pg.ClientBase | pg.Pool): Promise<void> {
    this.#acting = false;
    await this.#activities;
    // Every watch has to show the last entries, too.
    const started = performance.now();
    while (this.#unseen.length > 0 && performance.now() - started < this.scaled(2 * this.#usualWaitMs))
      await sleep(20);
    await this[Symbol.asyncDispose]();
    for (const { watch, entries, began } of this.#unseen.slice(0, 1)) {
      this.#surprises.push(
        `watch ${watch} did not show ${entries} entries within ${Math.round(performance.now() - began)} ms`,
      );
    }
    const waits = [...this.#slowest].map(
      ([name, { began, ended }]) => `${name} ${Math.round(ended - began)}`,
    );
    const counts = [...this.#counts].map((pair) => pair.join(" "));
    report(
      `  a bystander: ${counts.join(", ")}; waits of at most, in ms: ${waits.join(", ")}; ` +
        `${this.#slowness === 1 ? "" : `the machine is ${this.#slowness.toFixed(1)} times too slow; `}` +
        `${this.#explained} errors that the fault explains`,
    );
    expect(this.#surprises.slice(0, 10), `${this.#surprises.length} surprises of a bystander`).toEqual([]);
    const { rows } = await client.query<{ id: string }>(
      "SELECT request_id::text AS id FROM learning_log WHERE user_id = $1",
      [this.userId],
    );
    const stored = new Set(rows.map(({ id }) => id));
    const lost = [...this.#entries].filter(([id, acknowledged]) => acknowledged && !stored.has(id));
    expect(lost, "entries of a bystander that were acknowledged and are lost").toEqual([]);
    expect(
      [...stored].filter((id) => !this.#entries.has(id)),
      "entries that a bystander did not send",
    ).toEqual([]);
  }

  /** The service is gone for good, and nobody waits for what its watches have yet to show. */
  async giveUp(): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.#unseen.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#acting = false;
    await this.#activities;
    this.#watching.abort();
    await this.#watches;
    for (const seat of this.#seats) seat.close();
  }

  #activitiesAt(seat: Seat): Record<string, () => Promise<void>> {
    return {
      "writes over gRPC": () => this.#write(seat.grpc.learningLog),
      "writes over HTTP/1.1": () => this.#write(seat.connect),
      "reads over gRPC": () => this.#read(seat.grpc.learningLog),
      "reads over HTTP/1.1": () => this.#read(seat.connect),
      "health checks": async () => {
        const { status } = await seat.grpc.health.check({}, { timeoutMs: callTimeoutMs });
        if (status !== ServingStatus.SERVING) throw new ConnectError("not serving", Code.Unavailable);
      },
      readyz: () => seat.expectReady(),
    };
  }

  async #repeat(name: string, act: () => Promise<void>): Promise<void> {
    while (this.#acting) {
      await this.#meet(name, act);
      await sleep(pauseMs);
    }
  }

  /** Does it, and remembers how long it took and what it met. */
  async #meet(activity: string, act: () => Promise<void>): Promise<void> {
    const began = performance.now();
    let failure: ConnectError | undefined;
    try {
      await act();
    } catch (error) {
      failure = ConnectError.from(error);
    }
    this.#counts.set(activity, (this.#counts.get(activity) ?? 0) + 1);
    this.#judge({ activity, began, ended: performance.now() }, failure);
  }

  #judge(wait: Wait, failure?: ConnectError): void {
    const { activity, began, ended } = wait;
    const excuses = this.#excuses.filter(({ since, until }) => began <= until && since <= ended);
    if (failure !== undefined) {
      if (excuses.some(({ errors }) => errors?.(failure, activity))) this.#explained += 1;
      else this.#surprises.push(`${activity}: ${failure}`);
    }
    const ms = ended - began;
    const slowest = this.#slowest.get(activity);
    if (slowest === undefined || slowest.ended - slowest.began < ms) this.#slowest.set(activity, wait);
    const boundMs = this.scaled(Math.max(this.#usualWaitMs, ...excuses.map(({ waitMs = 0 }) => waitMs)));
    if (ms > boundMs) this.#surprises.push(`${activity}: waited for ${Math.round(ms)} ms`);
  }

  async #write(client: LearningLogClient): Promise<void> {
    const requestId = randomUUID();
    this.#entries.set(requestId, false);
    await client.createEntry({ requestId, userId: this.userId, wordCount: 1 }, { timeoutMs: callTimeoutMs });
    this.#entries.set(requestId, true);
    this.#acknowledged += 1;
    const began = performance.now();
    const entries = this.#acknowledged;
    for (const watch of this.#seats.keys()) {
      // A watch may show an entry before the call that wrote it is answered.
      if ((this.#shown.get(watch) ?? 0) < entries) this.#unseen.push({ watch, entries, began });
    }
  }

  /** A summary has everything that was acknowledged before it was asked for. */
  async #read(client: LearningLogClient): Promise<void> {
    const acknowledged = this.#acknowledged;
    const { periods } = await client.getSummary(this.#request(), { timeoutMs: callTimeoutMs });
    const entries = periods.reduce((sum, { entryCount }) => sum + Number(entryCount), 0);
    if (entries < acknowledged) {
      throw new ConnectError(`a summary has ${entries} of ${acknowledged} entries`, Code.DataLoss);
    }
  }

  /** Watches until the bystander stops; a watch that ends is begun again. */
  async #watch(watch: number, onAnswer: () => void): Promise<void> {
    const seat = this.#seats[watch];
    if (seat === undefined) throw new Error("there is no such instance");
    const { signal } = this.#watching;
    while (!signal.aborted) {
      const began = performance.now();
      let failure: ConnectError;
      try {
        const counts = new Map<bigint, number>();
        for await (const { periods } of seat.watch.learningLog.watchSummary(this.#request(), { signal })) {
          for (const { period, entryCount } of periods) counts.set(period?.seconds ?? 0n, Number(entryCount));
          this.#see(
            watch,
            [...counts.values()].reduce((sum, count) => sum + count, 0),
          );
          onAnswer();
        }
        failure = new ConnectError("the watch ended", Code.Unknown);
      } catch (error) {
        failure = ConnectError.from(error);
      }
      if (signal.aborted) return;
      this.#judge({ activity: "watch", began: performance.now(), ended: performance.now() }, failure);
      await sleep(began + 200 > performance.now() ? 200 : 0);
    }
  }

  #see(watch: number, entries: number): void {
    this.#shown.set(watch, entries);
    const ended = performance.now();
    for (let index = this.#unseen.length - 1; index >= 0; index -= 1) {
      const waiting = this.#unseen[index];
      if (waiting?.watch !== watch || waiting.entries > entries) continue;
      this.#unseen.splice(index, 1);
      this.#judge({ activity: "watch", began: waiting.began, ended });
    }
  }

  #request() {
    const now = BigInt(Math.floor(Date.now() / 1000));
    return {
      userId: this.userId,
      granularity: Granularity.DAY,
      from: { seconds: now - BigInt(daySeconds) },
      to: { seconds: now + BigInt(daySeconds) },
    };
  }
}

/** The bystander's connections to one instance. */
class Seat {
  readonly url: string;
  readonly grpc: OwnClient;
  /** Waits for others only where HTTP/2 makes it: a watch has a connection of its own. */
  readonly watch: OwnClient;
  readonly connect: LearningLogClient;
  /** With two connections of HTTP/2 beside it, as many as a bystander has. */
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: bystanderSockets - 2 });

  constructor(url: string) {
    this.url = url;
    this.grpc = openOwnClient(url);
    this.watch = openOwnClient(url);
    const transport = createConnectTransport({
      baseUrl: url,
      httpVersion: "1.1",
      useHttpGet: true,
      useBinaryFormat: false,
      nodeOptions: { agent: this.#agent },
    });
    this.connect = createClient(LearningLogService, transport);
  }

  /** Asks as an orchestrator does. */
  async expectReady(): Promise<void> {
    const asked = http.get(`${this.url}/readyz`, { agent: this.#agent, timeout: callTimeoutMs });
    const [answer] = await once(asked, "response");
    const reason = await text(answer);
    if (answer.statusCode !== 200) throw new ConnectError(reason.trim(), Code.Unavailable);
  }

  close(): void {
    this.grpc[Symbol.dispose]();
    this.watch[Symbol.dispose]();
    this.#agent.destroy();
  }
}
