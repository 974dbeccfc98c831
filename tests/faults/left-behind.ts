import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { expect, vi } from "vitest";
import { withConnection } from "../support/connection.ts";
import { residentMb } from "../support/memory.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { bystanderSockets } from "./bystander.ts";

// Counts, from outside, the resources that clients can leave behind in the service and its database.

/** The resources that an instance uses at one time. */
interface Count {
  /** The connections to its port that it has not closed, including those whose client has disconnected. */
  readonly sockets: number;
  /** The open files and sockets of the process. */
  readonly descriptors: number;
  readonly residentMb: number;
}

export interface WhatIsCounted {
  readonly services: readonly ServerProcess[];
  /** A function if the server may restart with a different URL. */
  readonly databaseUrl: string | (() => Promise<string>);
  /** How much more memory an instance may use in the end, in MB. */
  readonly maxGrowthMb?: number;
  /** The instances receive no notifications, so they do not answer which learners they watch. */
  readonly receivesNoNotifications?: boolean;
}

/** The most database connections of an instance: pools, notifications, and those that cancel statements. */
const maxBackends = 40;

/** How much larger a heap may stay after a load, in MB. A leak exceeds this. */
const usualGrowthMb = 200;

const settleTimeoutMs = 20_000;

export async function connectionString({ databaseUrl }: WhatIsCounted): Promise<string> {
  return typeof databaseUrl === "string" ? databaseUrl : databaseUrl();
}

export async function countServices({ services }: WhatIsCounted): Promise<Count[]> {
  return Promise.all(
    services.map(async ({ url, pid }) => ({
      sockets: await countSockets(Number(new URL(url).port)),
      descriptors: (await readdir(`/proc/${pid}/fd`)).length,
      residentMb: await residentMb(pid),
    })),
  );
}

/**
 * Waits until the instances use as little as before. Disconnected clients must leave no socket, statement, transaction
 * or watched learner behind, and their memory must be released.
 *
 * @param before the counts before the clients connected
 */
export async function expectNothingLeftBehind(
  counted: WhatIsCounted,
  before: readonly Count[],
): Promise<void> {
  const { maxGrowthMb = usualGrowthMb } = counted;
  await withConnection(await connectionString(counted), async (client) => {
    const answers: string[] = [];
    client.on("notification", ({ payload = "" }) => answers.push(payload));
    await client.query("LISTEN daily_aggregator_watches");
    await vi.waitFor(
      async () => {
        const now = await countServices(counted);
        for (const [index, { sockets, descriptors, residentMb }] of now.entries()) {
          const then = before[index];
          if (then === undefined) throw new Error("the services were not counted before");
          expect(sockets, "sockets of disconnected clients").toBeLessThanOrEqual(then.sockets);
          expect(descriptors, "descriptors").toBeLessThanOrEqual(then.descriptors + maxBackends);
          expect(residentMb, "MB of memory").toBeLessThan(then.residentMb + maxGrowthMb);
        }
        expect(await statementsOf(client), "statements that still run").toEqual([]);
        expect(await countBackends(client), "connections to the database").toBeLessThanOrEqual(
          counted.services.length * maxBackends,
        );
        if (counted.receivesNoNotifications) return;
        expect(await watchedLearners(client, answers), "learners that are still watched").toEqual([]);
      },
      { timeout: settleTimeoutMs, interval: 250 },
    );
  });
}

/** Waits until only the bystander's connections to an instance are open. */
export async function expectOnlyBystander(url: string, timeoutMs: number): Promise<void> {
  const port = Number(new URL(url).port);
  await vi.waitFor(
    async () => expect(await countSockets(port), "sockets").toBeLessThanOrEqual(bystanderSockets),
    { timeout: timeoutMs, interval: 50 },
  );
}

/**
 * Counts the sockets with this local port that belong to a process.
 * https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html describes the tables.
 */
async function countSockets(port: number): Promise<number> {
  const tables = await Promise.all(
    ["/proc/net/tcp", "/proc/net/tcp6"].map((table) => readFile(table, "utf8").catch(() => "")),
  );
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const listening = "0A";
  return tables
    .flatMap((table) => table.trim().split("\n").slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, local, , state, , , , , , inode]) =>
        local?.endsWith(suffix) && state !== listening && inode !== "0",
    ).length;
}

/** The statements and transactions of the service that are in progress. Without calls, there are none. */
async function statementsOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(`
    SELECT state || ' since ' || date_trunc('second', clock_timestamp() - state_change) || ': ' || left(query, 100) AS statement
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND application_name LIKE 'daily-aggregator%'
      AND state <> 'idle'
      -- The service's own statements take less than a second.
      AND state_change < clock_timestamp() - interval '1 second'`);
  return rows.map(({ statement }) => statement);
}

async function countBackends(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ backends: number }>(`
    SELECT count(*)::integer AS backends
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'daily-aggregator%'`);
  return rows[0]?.backends ?? 0;
}

/** Asks every instance which learners it watches, as a new instance does. */
async function watchedLearners(client: pg.Client, answers: string[]): Promise<string[]> {
  answers.length = 0;
  await client.query("SELECT pg_notify('daily_aggregator_watches', '?')");
  await sleep(500);
  // Pending notifications are received before the next result at the latest.
  await client.query("SELECT");
  return answers.filter((answer) => answer !== "?" && answer !== "");
}
