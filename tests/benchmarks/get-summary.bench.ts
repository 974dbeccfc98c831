import pg from "pg";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { Benchmark, Setting } from "./harness/benchmark.ts";
import { type BenchmarkDatabase, createDatabase } from "./harness/database.ts";
import type { Figure, Goal } from "./harness/figure.ts";
import { GrpcClient } from "./harness/grpc-client.ts";
import { type Measurement, runLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";
import {
  fewEntries,
  getSummary,
  lastDays,
  mostBuckets,
  openYear,
  plainStatementFor,
  recordYear,
  summaryOf,
  usualEntries,
} from "./harness/summaries.ts";
import { SumsStatements } from "./harness/sums-statement.ts";

const connections = 4;

/** The number of connections of the rivals. */
const poolSize = 10;

const buckets = { small: fewEntries, usual: usualEntries, full: mostBuckets };

interface Case {
  readonly what: string;
  readonly learner: keyof typeof buckets;
  readonly granularity: Granularity;
  readonly range: { readonly from: number; readonly to: number };
  readonly inFlight: number;
  /** Bounds for the time of the call and of its statement, both divided by the time of the statement by hand. */
  readonly goals: { readonly call?: number; readonly statement?: number };
}

const { HOUR, DAY } = Granularity;
const yearByDay = { what: "a year by day", granularity: DAY, range: openYear };
const cases: readonly Case[] = [
  { ...yearByDay, learner: "usual", inFlight: 1, goals: { call: 1, statement: 0.7 } },
  { ...yearByDay, learner: "usual", inFlight: 16, goals: {} },
  { ...yearByDay, learner: "full", inFlight: 1, goals: { call: 0.65, statement: 0.6 } },
  { ...yearByDay, learner: "small", inFlight: 1, goals: {} },
  {
    what: "a year by hour",
    granularity: HOUR,
    range: openYear,
    learner: "usual",
    inFlight: 1,
    goals: { call: 1.2 },
  },
  { what: "a week by day", granularity: DAY, range: lastDays(7), learner: "usual", inFlight: 1, goals: {} },
];

/** Summaries that are not memoized, compared to SQL written by hand; and the first summaries in a time zone. */
export const getSummaryBenchmark: Benchmark = {
  name: "get-summary",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    for (const [learner, count] of Object.entries(buckets))
      await recordYear(database, learner, count, openYear);
    await database.admin.query("VACUUM ANALYZE");
    await using service = await startService(setting, database);
    using client = new GrpcClient(service.url, connections);
    return [...(await knownCalendars(setting, database, client)), ...(await newCalendars(setting, client))];
  },
};

async function knownCalendars(
  setting: Setting,
  database: BenchmarkDatabase,
  client: GrpcClient,
): Promise<Figure[]> {
  await using statements = new SumsStatements(database, poolSize);
  await using stack = new AsyncDisposableStack();
  const pool = stack.adopt(new pg.Pool({ connectionString: database.url, max: poolSize }), (it) => it.end());

  let asked = 0;
  const figures: Figure[] = [];
  for (const { what, learner, granularity, range, inFlight, goals } of cases) {
    const request = summaryOf(learner, granularity, range);
    const byHand = plainStatementFor(request);
    const statement = await statements.statementFor(request);
    // A new request each time, because equal requests share a computation.
    const newRequest = () => {
      asked += 1;
      return summaryOf(learner, granularity, range, asked);
    };
    const calls = {
      service: () => getSummary(client, newRequest(), daysOf(range)),
      statement: () => statements.run(statement),
      plain: () => pool.query(byHand),
    };
    for (const call of Object.values(calls))
      await warmUp(setting.effort.firstWarmUpSeconds / 2, inFlight, call);
    const load = (call: () => Promise<unknown>) => runLoad({ inFlight, ...setting.effort }, call);
    const measured = await takeTurns(setting, {
      service: () => load(calls.service),
      statement: () => load(calls.statement),
      plain: () => load(calls.plain),
    });
    const rival = { name: "DATE_TRUNC and GROUP BY by hand", value: microsOf(measured.plain) };
    const name = `${what}, ${buckets[learner]} buckets, not memoized, ${inFlight} in flight`;
    figures.push(
      { ...figureOf(`GetSummary, ${name}`, measured.service), rival, ...atMost(goals.call) },
      { ...figureOf(`only its statement, ${name}`, measured.statement), rival, ...atMost(goals.statement) },
    );
  }
  return figures;
}

/** Measures summaries in time zones that no summary was in before. */
async function newCalendars(setting: Setting, client: GrpcClient): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [what, days, mostMs] of [
    ["a year", 365, 60],
    ["ten years", 3650, 200],
  ] as const) {
    // Each combination of a time zone and a start of the day has a calendar of its own.
    const timeZones = Intl.supportedValuesOf("timeZone");
    let asked = 0;
    const ask = () => {
      const dayStart = 15 * (Math.floor(asked / timeZones.length) + (days === 365 ? 0 : 48));
      const timeZone = timeZones[asked % timeZones.length] ?? "";
      asked += 1;
      return getSummary(client, { ...summaryOf("usual", DAY, lastDays(days)), timeZone, dayStart });
    };
    const load = await runLoad({ inFlight: 1, ...setting.effort }, ask);
    const goal = { of: "value", atMost: mostMs * 1000 } as const;
    figures.push({ ...figureOf(`GetSummary, the first in a new time zone, ${what} by day`, load), goal });
  }
  return figures;
}

function daysOf({ from, to }: Case["range"]): number {
  return Math.ceil((to - from) / 86_400_000);
}

function figureOf(name: string, measured: Measurement | undefined) {
  return { name, value: microsOf(measured), unit: "µs", p50Ms: measured?.p50Ms, p99Ms: measured?.p99Ms };
}

function microsOf(measured: Measurement | undefined): number {
  return (measured?.p50Ms ?? Number.NaN) * 1000;
}

function atMost(bound: number | undefined): { readonly goal?: Goal } {
  return bound === undefined ? {} : { goal: { of: "ratio", atMost: bound } };
}
