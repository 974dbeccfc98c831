import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { useTestService } from "../support/test-service.ts";
import { askService, withAverages } from "./ask.ts";
import { summarize } from "./oracle.ts";

// Unlike a range of a few days, a whole year also shows what a clock change does to the periods after it.

const { HOUR, DAY, WEEK, MONTH, QUARTER, YEAR } = Granularity;
const service = useTestService();

test.for([
  ["Africa/Monrovia", 1971],
  ["America/Havana", 2024],
  // The day to which the clock returned and all days after it have 24 hours.
  ["America/St_Johns", 1994],
  ["America/St_Johns", 2011],
  ["Antarctica/Casey", 2010],
  ["Asia/Beirut", 2024],
  ["Asia/Kathmandu", 1985],
  ["Australia/Lord_Howe", 2024],
  ["Europe/Berlin", 2024],
  ["Pacific/Apia", 2011],
  ["Pacific/Kiritimati", 1994],
] as const)(
  "every period of %s, %i and the next January begins at its first instant",
  async ([timeZone, year]) => {
    for (const granularity of [HOUR, DAY, WEEK, MONTH, QUARTER, YEAR]) {
      const range = { from: micros(`${year}-01-01T00:00Z`), to: micros(`${year + 1}-01-31T00:00Z`) };
      const question = { ...range, timeZone, granularity };
      const periods = await askService(grpcClient(service.url), randomUUID(), question);
      expect(periods).toEqual(withAverages(summarize([], question)));
    }
  },
);
