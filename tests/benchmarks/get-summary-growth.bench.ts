import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { GrpcClient } from "./harness/grpc-client.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";
import { getSummary, openYear, recordYear, yearByDay } from "./harness/summaries.ts";

/** The factor by which a summary may take longer than with the shortest log. */
const maxGrowth = 3;

/** A year by day that is not memoized, of learners with longer and longer logs. */
export const getSummaryGrowthBenchmark: Benchmark = {
  name: "get-summary-growth",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    const learners = setting.effort.logEntries.map((count) => ({ count, userId: `learner-of-${count}` }));
    for (const { userId, count } of learners) {
      setting.progress(`  loading ${count} entries`);
      await recordYear(database, userId, count, openYear);
    }
    await database.admin.query("VACUUM ANALYZE");
    await using service = await startService(setting, database);
    using client = new GrpcClient(service.url, 1);

    let asked = 0;
    const ask = (userId: string) => {
      asked += 1;
      return getSummary(client, yearByDay(userId, openYear, asked));
    };
    await warmUp(setting.effort.firstWarmUpSeconds, 1, () => ask(learners[0]?.userId ?? ""));
    const turns = learners.map(({ userId }) => {
      const turn = () => runLoad({ inFlight: 1, ...setting.effort }, () => ask(userId));
      return [userId, turn] as const;
    });
    const measured = await takeTurns(setting, Object.fromEntries(turns));
    const [shortest] = learners;
    const least = measured[shortest?.userId ?? ""]?.p50Ms;
    return learners.flatMap(({ userId, count }): Figure[] => {
      const { p50Ms, p99Ms } = measured[userId] ?? {};
      if (p50Ms === undefined || least === undefined) return [];
      const name = `GetSummary, ${count.toLocaleString("en-US")} log entries, not memoized`;
      const figure = { name, value: p50Ms * 1000, unit: "µs", p50Ms, p99Ms };
      if (count === shortest?.count) return [figure];
      const rival = { name: `with ${shortest?.count.toLocaleString("en-US")} entries`, value: least * 1000 };
      return [{ ...figure, rival, goal: { of: "ratio", atMost: maxGrowth } }];
    });
  },
};
