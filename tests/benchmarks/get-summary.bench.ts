import pg from "pg";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { GrpcClient } from "./harness/grpc-client.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";
import {
  getSummary,
  mostBuckets,
  openYear,
  plainStatementFor,
  recordYear,
  statementFor,
  usualEntries,
  yearByDay,
} from "./harness/summaries.ts";

const connections = 4;

/** The number of connections of the rivals. */
const poolSize = 10;

const cases = [
  { learner: "usual", inFlight: 1 },
  { learner: "usual", inFlight: 16 },
  { learner: "full", inFlight: 1 },
] as const;

const buckets = { usual: usualEntries, full: mostBuckets };

/** A year by day that is not memoized, compared to the same SQL without the service, and to SQL written by hand. */
export const getSummaryBenchmark: Benchmark = {
  name: "get-summary",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    for (const [learner, count] of Object.entries(buckets))
      await recordYear(database, learner, count, openYear);
    await database.admin.query("VACUUM ANALYZE");
    await using service = await startService(setting, database);
    using client = new GrpcClient(service.url, connections);
    await using stack = new AsyncDisposableStack();
    const pool = stack.adopt(new pg.Pool({ connectionString: database.url, max: poolSize }), (it) =>
      it.end(),
    );

    let asked = 0;
    const newRequest = (learner: string) => {
      asked += 1;
      return yearByDay(learner, openYear, asked);
    };
    const figures: Figure[] = [];
    for (const { learner, inFlight } of cases) {
      const calls = {
        service: () => getSummary(client, newRequest(learner)),
        statement: () => pool.query(statementFor(newRequest(learner))),
        plain: () => pool.query(plainStatementFor(newRequest(learner))),
      };
      for (const call of Object.values(calls)) {
        await warmUp(setting.effort.firstWarmUpSeconds / 2, inFlight, call);
      }
      const load = (call: () => Promise<unknown>) => runLoad({ inFlight, ...setting.effort }, call);
      const measured = await takeTurns(setting, {
        service: () => load(calls.service),
        statement: () => load(calls.statement),
        plain: () => load(calls.plain),
      });
      const { service: ours, statement, plain } = measured;
      if (ours === undefined || statement === undefined || plain === undefined) continue;
      const figure = {
        name: `GetSummary, ${buckets[learner]} buckets, not memoized, ${inFlight} in flight`,
        value: microsOf(ours.p50Ms),
        unit: "µs",
        p50Ms: ours.p50Ms,
        p99Ms: ours.p99Ms,
      };
      const [same, byHand] = [microsOf(statement.p50Ms), microsOf(plain.p50Ms)];
      const goal = { of: "ratio", atMost: 1.3 } as const;
      figures.push({ ...figure, rival: { name: "the same SQL in a pg query", value: same }, goal });
      figures.push({ ...figure, rival: { name: "DATE_TRUNC and GROUP BY by hand", value: byHand } });
    }
    return figures;
  },
};

function microsOf(ms: number | undefined): number {
  return (ms ?? Number.NaN) * 1000;
}
