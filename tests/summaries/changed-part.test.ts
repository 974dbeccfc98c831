import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { Calendars } from "../../src/summaries/calendars.ts";
import { changedPart } from "../../src/summaries/changed-part.ts";
import { summarize } from "../../src/summaries/summarize.ts";
import { summaryRequest } from "../../src/summaries/summary-request.ts";
import { micros } from "../support/micros.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { summaryRequestOf } from "./ask.ts";

const database = useTestDatabase();
const { signal } = new AbortController();

// At 00:01 on Sunday, the clock was set back to 23:01 on Saturday.
test.for([
  ["Saturday, to which the clock returned", "2010-11-05T12:00-02:30", "2010-11-06T23:30-03:30"],
  ["Monday, from Sunday's first minute", "2010-11-07T00:00:30-02:30", "2010-11-08T12:00-03:30"],
] as const)("a change until %s is read with all days in between: St. John's, 2010", async ([, from, to]) => {
  const week = {
    timeZone: "America/St_Johns",
    granularity: Granularity.DAY,
    from: micros("2010-11-04T12:00-02:30"),
    to: micros("2010-11-10T12:00-03:30"),
  };
  const request = summaryRequest(create(GetSummaryRequestSchema, summaryRequestOf(randomUUID(), week)));
  const part = changedPart(request, { from: micros(from), to: micros(to) });
  const pools = { small: database.connections, large: database.connections };
  const { periods } = await summarize({ pools, calendars: new Calendars() }, part, signal);
  const days = periods.map(({ begins }) => new Date(begins * 1000).toISOString());
  expect(days).toEqual(expect.arrayContaining(["2010-11-06T02:30:00.000Z", "2010-11-07T02:30:00.000Z"]));
});
