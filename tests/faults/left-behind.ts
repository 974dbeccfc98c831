import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { expect, vi } from "vitest";
import { withConnection } from "../support/connection.ts";
import { residentMb } from "../support/memory.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { bystanderSockets } from "./bystander.ts";

// What callers can leave behind in the service and its database, counted from outside.

/** Of a service and its database at one moment. */
interface Count {
  /** Connections to the port that the process holds, those whose client is gone included. */
  readonly sockets: number;
  /** Files and sockets that the process holds. */
  readonly descriptors: number;
  readonly residentMb: number;
}

export interface WhatIsCounted {
  readonly services: readonly ServerProcess[];
  /** Of a server that may start anew, as it is in the end. */
  readonly databaseUrl: string | (() => Promise<string>);
  /** How much more memory an instance may hold in the end. */
  readonly maxGrowthMb?: number;
  /** They hear no notification, and so cannot say whom they watch. */
  readonly isDeaf?: boolean;
}

/** The service's own connections to the database, at most, for each instance: the pools, what listens, what cancels. */
const maxBackends = 40;

/** What a heap may keep from a rush; what leaks in one shows above that. */
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
 * Waits until what was there before is there again: no socket, statement, transaction or watched learner is left of those
 * who are gone, and the memory that they took is free.
 *
 * @param before who called then calls no more
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
          expect(sockets, "sockets of clients that are gone").toBeLessThanOrEqual(then.sockets);
          expect(descriptors, "descriptors").toBeLessThanOrEqual(then.descriptors + maxBackends);
          expect(residentMb, "MB of memory").toBeLessThan(then.residentMb + maxGrowthMb);
        }
        expect(await statementsOf(client), "statements that still run").toEqual([]);
        expect(await countBackends(client), "connections to the database").toBeLessThanOrEqual(
          counted.services.length * maxBackends,
        );
        if (counted.isDeaf) return;
        expect(await watchedLearners(client, answers), "learners that are still watched").toEqual([]);
      },
      { timeout: settleTimeoutMs, interval: 250 },
    );
  });
}

/** Waits until every other client's connection is gone. */
export async function expectOnlyBystander(url: string, timeoutMs: number): Promise<void> {
  const port = Number(new URL(url).port);
  await vi.waitFor(
    async () => expect(await countSockets(port), "sockets").toBeLessThanOrEqual(bystanderSockets),
    { timeout: timeoutMs, interval: 50 },
  );
}

/** Sockets with this local port that belong to a process: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html */
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

/** The statements and transactions of the service that are under way; none while nobody calls. */
async function statementsOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(`
    SELECT state || ' since ' || date_trunc('second', clock_timestamp() - state_change) || ': ' || left(query, 100) AS statement
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND application_name LIKE 'daily-aggregator%'
      AND state <> 'idle'
      -- What the service asks for itself is over at once.
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

/** Asks every instance whom it watches, as an instance does that has just begun to listen. */
async function watchedLearners(client: pg.Client, answers: string[]): Promise<string[]> {
  answers.length = 0;
  await client.query("SELECT pg_notify('daily_aggregator_watches', '?')");
  await sleep(500);
  // What comes over a connection that waits is read with the next answer at the latest.
  await client.query("SELECT");
  return answers.filter((answer) => answer !== "?" && answer !== "");
}
