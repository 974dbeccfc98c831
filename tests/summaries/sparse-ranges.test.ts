import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";
import { askService } from "./ask.ts";

// With omit_empty_periods, more than 10,000 periods: only the time between a learner's first and last entry is read.

const { HOUR, DAY } = Granularity;
const service = useTestService();
const client = () => grpcClient(service.url);

const record = (times: readonly string[]) =>
  recordLearner(
    service.database.connections,
    times.map((time) => ({ timestamp: micros(time), wordCount: 1 })),
  );

test("an entry counts if its bucket begins in the period before: Monrovia, 1972", async () => {
  const userId = await record(["1972-01-07T00:44:30Z"]);
  const question = {
    timeZone: "Africa/Monrovia",
    granularity: HOUR,
    from: micros("1970-01-01T12:00Z"),
    to: micros("1973-01-01T12:00Z"),
    omitEmptyPeriods: true,
  };
  expect(await askService(client(), userId, question)).toMatchObject([{ period: "1972-01-07T00:44:30Z" }]);
});

test("a range that begins on St. John's Sunday has no Saturday, to which the clock returned after its first minute", async () => {
  const userId = await record(["2010-11-06T23:30-03:30", "2010-11-07T12:00-03:30"]);
  const question = {
    timeZone: "America/St_Johns",
    granularity: DAY,
    from: micros("2010-11-07T00:00:30-02:30"),
    to: micros("2040-01-01T12:00Z"),
    omitEmptyPeriods: true,
  };
  expect(await askService(client(), userId, question)).toMatchObject([{ period: "2010-11-07T02:30:00Z" }]);
});
