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

// Two instances of the service use one database. Random calls about each learner arrive at random times. Every answer
// must be a recount of the log at a time that the answer may show.
//
// `npm test` runs a few interleavings, and `npm run test:model` runs 2,000.

const runs = 24 * effort;

const interleavings = themes.chain((theme) =>
  fc.record({ questions: questions(theme), steps: steps(theme) }),
);

/** The number of concurrent learners. It can be high, because each learner waits most of the time. */
const lanes = 24;

const database = useTestDatabase();
// An hour has just ended. For some seconds, its new entries are not announced. Later, its summaries can be memoized.
const clock = useClockPastTheHour(database, 20);
const services = useTwoServices({}, database);
checkAggregatesAfterAll(database);
const instances = 2;
beforeAll(() => waitForNotifications(database, instances));

test(`${runs} interleavings of writes, reads and broken connections give correct answers`, {
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
      // A failure may depend on timing and not occur again, so a search for a shorter interleaving is useless.
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
