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

/** The errors and waits that a fault may cause for a bystander while it lasts. */
export interface Excuse {
  /** Whether the fault explains an error that an activity of the bystander got. Default: it explains none. */
  readonly errors?: (error: ConnectError, activity: string) => boolean;
  /** The longest that a bystander may wait, in milliseconds. Default: as long as without the fault. */
  readonly waitMs?: number;
}

/** Whether the error is UNAVAILABLE, as it is while the database or the instance is down. */
export function isUnavailable({ code }: ConnectError): boolean {
  return code === Code.Unavailable;
}

/** Whether the error is RESOURCE_EXHAUSTED with RetryInfo, as it is while others use all resources. */
export function isBusy(error: ConnectError): boolean {
  return error.code === Code.ResourceExhausted && error.findDetails(RetryInfoSchema).length === 1;
}

/** If the bystander waits for longer than this, it starves: no busy machine explains such a wait. */
const usualWaitMs = 5_000;

/** The longest time of a call before the fault. If a call takes longer, the machine itself is overloaded. */
const calmWaitMs = 250;

/** Long, so that starvation shows as a long wait and not as an error. */
const callTimeoutMs = 40_000;

const pauseMs = 40;

/** The most connections that a bystander has to one instance. */
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
 * A client that takes no part in a fault. For its own learner and over its own connections, it writes, reads, watches
 * and checks the health at every instance. It must get no error and no wait that the fault does not explain.
 */
export class Bystander implements AsyncDisposable {
  readonly userId = `bystander ${randomUUID()}`;
  /** The factor by which the machine is too slow, measured before the fault; at least 1. */
  #slowness = 1;
  readonly #usualWaitMs: number;
  readonly #instances: readonly InstanceClients[];
  #acting = true;
  readonly #watching = new AbortController();
  readonly #excuses: ActiveExcuse[] = [];
  readonly #problems: string[] = [];
  readonly #slowest = new Map<string, Wait>();
  readonly #counts = new Map<string, number>();
  #excused = 0;
  #activities: Promise<unknown> = Promise.resolve();
  #watches: Promise<unknown> = Promise.resolve();
  /** The request_ids that were sent, and whether each was acknowledged. */
  readonly #entries = new Map<string, boolean>();
  #acknowledged = 0;
  /** The number of entries that each watch has shown, by the index of its instance. */
  readonly #shown = new Map<number, number>();
  /** Numbers of acknowledged entries that a watch has not shown yet. */
  readonly #unseen: { readonly watch: number; readonly entries: number; readonly began: number }[] = [];

  private constructor(urls: readonly string[], waitMs: number) {
    this.#usualWaitMs = waitMs;
    this.#instances = urls.map((url) => new InstanceClients(url));
  }

  /**
   * Resolves when each instance has answered every kind of call.
   *
   * @param urls the URLs of the instances
   * @param waitMs the longest permitted wait; it is longer in proportion if the machine is slow before the fault
   */
  static async start(urls: readonly string[], waitMs = usualWaitMs): Promise<Bystander> {
    const bystander = new Bystander(urls, waitMs);
    const started = urls.map((_, watch) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      return { promise, watching: bystander.#watch(watch, resolve) };
    });
    bystander.#watches = Promise.all(started.map(({ watching }) => watching));
    await Promise.all(started.map(({ promise }) => promise));
    const activities = bystander.#instances.flatMap((instance) =>
      Object.entries(bystander.#activitiesAt(instance)),
    );
    for (const [, act] of activities) await act();
    for (const [, act] of activities) {
      const began = performance.now();
      await act();
      bystander.#slowness = Math.max(bystander.#slowness, (performance.now() - began) / calmWaitMs);
    }
    bystander.#activities = Promise.all(activities.map(([name, act]) => bystander.#repeat(name, act)));
    return bystander;
  }

  /** Extends a time in proportion to how slow this machine is. */
  scaled(ms: number): number {
    return ms * this.#slowness;
  }

  /** Excuses errors and waits of all calls that are in flight between now and the disposal of the result. */
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
   * Stops the bystander. Checks its errors and waits, and that its acknowledged entries are stored.
   *
   * @param client a connection to the database of the instances
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
      this.#problems.push(
        `watch ${watch} did not show ${entries} entries within ${Math.round(performance.now() - began)} ms`,
      );
    }
    const waits = [...this.#slowest].map(
      ([name, { began, ended }]) => `${name} ${Math.round(ended - began)}`,
    );
    const counts = [...this.#counts].map((pair) => pair.join(" "));
    report(
      `  a bystander: ${counts.join(", ")}; longest waits in ms: ${waits.join(", ")}; ` +
        `${this.#slowness === 1 ? "" : `the machine is ${this.#slowness.toFixed(1)} times too slow; `}` +
        `${this.#excused} excused errors`,
    );
    expect(this.#problems.slice(0, 10), `${this.#problems.length} problems of a bystander`).toEqual([]);
    const { rows } = await client.query<{ id: string }>(
      "SELECT request_id::text AS id FROM learning_log WHERE user_id = $1",
      [this.userId],
    );
    const stored = new Set(rows.map(({ id }) => id));
    const lost = [...this.#entries].filter(([id, acknowledged]) => acknowledged && !stored.has(id));
    expect(lost, "acknowledged entries of a bystander that are lost").toEqual([]);
    expect(
      [...stored].filter((id) => !this.#entries.has(id)),
      "entries that a bystander did not send",
    ).toEqual([]);
  }

  /** Stops the bystander after its service has ended. The watches need not show the remaining entries. */
  async giveUp(): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.#unseen.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#acting = false;
    await this.#activities;
    this.#watching.abort();
    await this.#watches;
    for (const instance of this.#instances) instance.close();
  }

  #activitiesAt(instance: InstanceClients): Record<string, () => Promise<void>> {
    return {
      "writes over gRPC": () => this.#write(instance.grpc.learningLog),
      "writes over HTTP/1.1": () => this.#write(instance.connect),
      "reads over gRPC": () => this.#read(instance.grpc.learningLog),
      "reads over HTTP/1.1": () => this.#read(instance.connect),
      "health checks": async () => {
        const { status } = await instance.grpc.health.check({}, { timeoutMs: callTimeoutMs });
        if (status !== ServingStatus.SERVING) throw new ConnectError("not serving", Code.Unavailable);
      },
      readyz: () => instance.expectReady(),
    };
  }

  async #repeat(name: string, act: () => Promise<void>): Promise<void> {
    while (this.#acting) {
      await this.#perform(name, act);
      await sleep(pauseMs);
    }
  }

  /** Performs an activity, and checks how long it took and whether it failed. */
  async #perform(activity: string, act: () => Promise<void>): Promise<void> {
    const began = performance.now();
    let failure: ConnectError | undefined;
    try {
      await act();
    } catch (error) {
      failure = ConnectError.from(error);
    }
    this.#counts.set(activity, (this.#counts.get(activity) ?? 0) + 1);
    this.#check({ activity, began, ended: performance.now() }, failure);
  }

  #check(wait: Wait, failure?: ConnectError): void {
    const { activity, began, ended } = wait;
    const excuses = this.#excuses.filter(({ since, until }) => began <= until && since <= ended);
    if (failure !== undefined) {
      if (excuses.some(({ errors }) => errors?.(failure, activity))) this.#excused += 1;
      else this.#problems.push(`${activity}: ${failure}`);
    }
    const ms = ended - began;
    const slowest = this.#slowest.get(activity);
    if (slowest === undefined || slowest.ended - slowest.began < ms) this.#slowest.set(activity, wait);
    const boundMs = this.scaled(Math.max(this.#usualWaitMs, ...excuses.map(({ waitMs = 0 }) => waitMs)));
    if (ms > boundMs) this.#problems.push(`${activity}: waited for ${Math.round(ms)} ms`);
  }

  async #write(client: LearningLogClient): Promise<void> {
    const requestId = randomUUID();
    this.#entries.set(requestId, false);
    await client.createEntry({ requestId, userId: this.userId, wordCount: 1 }, { timeoutMs: callTimeoutMs });
    this.#entries.set(requestId, true);
    this.#acknowledged += 1;
    const began = performance.now();
    const entries = this.#acknowledged;
    for (const watch of this.#instances.keys()) {
      // A watch may show an entry before the call that wrote it is answered.
      if ((this.#shown.get(watch) ?? 0) < entries) this.#unseen.push({ watch, entries, began });
    }
  }

  /** Checks that a summary has every entry that was acknowledged before the request. */
  async #read(client: LearningLogClient): Promise<void> {
    const acknowledged = this.#acknowledged;
    const { periods } = await client.getSummary(this.#request(), { timeoutMs: callTimeoutMs });
    const entries = periods.reduce((sum, { entryCount }) => sum + Number(entryCount), 0);
    if (entries < acknowledged) {
      throw new ConnectError(`a summary has ${entries} of ${acknowledged} entries`, Code.DataLoss);
    }
  }

  /** Watches until the bystander stops. Restarts a watch that ends. */
  async #watch(watch: number, onAnswer: () => void): Promise<void> {
    const instance = this.#instances[watch];
    if (instance === undefined) throw new Error("there is no such instance");
    const { signal } = this.#watching;
    while (!signal.aborted) {
      const began = performance.now();
      let failure: ConnectError;
      try {
        const counts = new Map<bigint, number>();
        for await (const { periods } of instance.watch.learningLog.watchSummary(this.#request(), {
          signal,
        })) {
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
      this.#check({ activity: "watch", began: performance.now(), ended: performance.now() }, failure);
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
      this.#check({ activity: "watch", began: waiting.began, ended });
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
class InstanceClients {
  readonly url: string;
  readonly grpc: OwnClient;
  /** A separate connection, so that the other calls do not delay the watch. */
  readonly watch: OwnClient;
  readonly connect: LearningLogClient;
  /** Leaves two of the bystander's connections for HTTP/2. */
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

  /** Requests `/readyz`, as an orchestrator does. */
  async expectReady(): Promise<void> {
    const request = http.get(`${this.url}/readyz`, { agent: this.#agent, timeout: callTimeoutMs });
    const [answer] = await once(request, "response");
    const reason = await text(answer);
    if (answer.statusCode !== 200) throw new ConnectError(reason.trim(), Code.Unavailable);
  }

  close(): void {
    this.grpc[Symbol.dispose]();
    this.watch[Symbol.dispose]();
    this.#agent.destroy();
  }
}
