import fc from "fast-check";
import { beforeAll, test } from "vitest";
import { checkAggregatesAfterAll } from "../../support/aggregates.ts";
import { useClockPastTheHour } from "../../support/database-clock.ts";
import { waitForNotifications } from "../../support/notification-links.ts";
import { effort, seed } from "../../support/random.ts";
import { useTestDatabase } from "../../support/test-database.ts";
import { useTwoServices } from "../../support/test-service.ts";
import { runInterleaving } from "./learner.ts";
import { NotificationGaps } from "./notification-gaps.ts";
import { questions } from "./questions.ts";
import { steps } from "./steps.ts";
import { themes } from "./theme.ts";

// Two instances of the service over one database, and learners to whom all kinds of things happen at all kinds of
// moments: every answer must be a recount of the log, as it was at a moment that the answer may show.
//
// `npm test` runs a few interleavings, `npm run test:model` 2,000.

const runs = 24 * effort;

const interleavings = themes.chain((theme) =>
  fc.record({ questions: questions(theme), steps: steps(theme) }),
);

/** How many learners there are at a time. Most of the time, each waits for something. */
const lanes = 24;

const database = useTestDatabase();
// An hour has just ended: for some seconds its entries may come unannounced, and then its summaries can be memoized.
const clock = useClockPastTheHour(database, 20);
const services = useTwoServices({}, database);
checkAggregatesAfterAll(database);
const instances = 2;
beforeAll(() => waitForNotifications(database, instances));

test(`${runs} interleavings of writes, reads and cuts give no wrong answer`, {
  timeout: 72_000 * effort,
}, async () => {
  const world = { services, clock, gaps: new NotificationGaps(database, instances) };
  let failed = false;
  const lane = async (index: number) => {
    await fc.assert(
      fc.asyncProperty(interleavings, async (interleaving) => {
        // One counterexample is enough.
        if (!failed) await runInterleaving(world, interleaving);
      }),
      // A race that was lost once may be won the next time: there is no use in looking for a shorter one.
      { numRuns: runs / lanes, seed: seed + index, endOnFailure: true },
    );
  };
  const outcomes = await Promise.allSettled(
    Array.from({ length: lanes }, (_, index) =>
      lane(index).catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    ),
  );
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
});
