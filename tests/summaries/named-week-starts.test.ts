// Weeks that begin on another day than Monday.

import { describe } from "vitest";
import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { DAY, WEEK, MONTH, QUARTER, YEAR } = Granularity;
const { UNSPECIFIED, MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY } = Weekday;
const service = useTestService();

describe("the week that contains Monday 4 March 2024 begins on", () => {
  testNamedCases(
    service,
    (
      [
        ["Monday 4 March if week_start is not set", UNSPECIFIED, "2024-03-04T00:00Z", "2024-03-11T00:00Z"],
        ["Monday 4 March", MONDAY, "2024-03-04T00:00Z", "2024-03-11T00:00Z"],
        ["Tuesday 27 February", TUESDAY, "2024-02-27T00:00Z", "2024-03-05T00:00Z"],
        ["Wednesday 28 February", WEDNESDAY, "2024-02-28T00:00Z", "2024-03-06T00:00Z"],
        ["Thursday 29 February", THURSDAY, "2024-02-29T00:00Z", "2024-03-07T00:00Z"],
        ["Friday 1 March", FRIDAY, "2024-03-01T00:00Z", "2024-03-08T00:00Z"],
        ["Saturday 2 March", SATURDAY, "2024-03-02T00:00Z", "2024-03-09T00:00Z"],
        ["Sunday 3 March", SUNDAY, "2024-03-03T00:00Z", "2024-03-10T00:00Z"],
      ] as const
    ).map(([title, weekStart, start, end]) => ({
      title,
      timeZone: "UTC",
      granularity: WEEK,
      weekStart,
      from: "2024-03-04T12:00Z",
      to: end,
      entries: [
        [lastInstantBefore(start), 1],
        [start, 2],
        [lastInstantBefore(end), 4],
        [end, 8],
      ],
      periods: [
        [start, 6, 2],
        [end, 8, 1],
      ],
    })),
  );
});

describe("at the end of a year", () => {
  testNamedCases(service, [
    {
      title: "2 January 2021 is in the week of Sunday 27 December 2020, and 3 January in the next one",
      timeZone: "UTC",
      granularity: WEEK,
      weekStart: SUNDAY,
      from: "2020-12-27T00:00Z",
      to: "2021-01-03T00:00Z",
      entries: [
        ["2020-12-26T23:59:59.999999Z", 1],
        ["2020-12-27T00:00Z", 2],
        ["2021-01-02T23:59:59.999999Z", 4],
        ["2021-01-03T00:00Z", 8],
        ["2021-01-09T23:59:59.999999Z", 16],
        ["2021-01-10T00:00Z", 32],
      ],
      periods: [
        ["2020-12-27T00:00Z", 6, 2],
        ["2021-01-03T00:00Z", 24, 2],
      ],
    },
    {
      title: "1 January 2021 is in the week of Saturday 26 December 2020, and 2 January in the next one",
      timeZone: "UTC",
      granularity: WEEK,
      weekStart: SATURDAY,
      from: "2020-12-26T00:00Z",
      to: "2021-01-02T00:00Z",
      entries: [
        ["2020-12-25T23:59:59.999999Z", 1],
        ["2020-12-26T00:00Z", 2],
        ["2021-01-01T23:59:59.999999Z", 4],
        ["2021-01-02T00:00Z", 8],
        ["2021-01-08T23:59:59.999999Z", 16],
        ["2021-01-09T00:00Z", 32],
      ],
      periods: [
        ["2020-12-26T00:00Z", 6, 2],
        ["2021-01-02T00:00Z", 24, 2],
      ],
    },
  ]);
});

describe("together with day_start", () => {
  testNamedCases(service, [
    {
      // The clock jumps at 02:00 on Sunday 31 March.
      title: "Berlin's weeks begin at 04:00 on Sunday, and the one that ends on 31 March has 167 hours",
      timeZone: "Europe/Berlin",
      granularity: WEEK,
      dayStart: 4 * 60,
      weekStart: SUNDAY,
      from: "2024-03-31T03:59:59.999999+02:00",
      to: "2024-03-31T04:00+02:00",
      entries: [
        ["2024-03-24T03:59:59.999999+01:00", 1],
        ["2024-03-24T04:00+01:00", 2],
        ["2024-03-31T03:59:59.999999+02:00", 4],
        ["2024-03-31T04:00+02:00", 8],
        ["2024-04-07T03:59:59.999999+02:00", 16],
        ["2024-04-07T04:00+02:00", 32],
      ],
      periods: [
        ["2024-03-24T04:00+01:00", 6, 2],
        ["2024-03-31T04:00+02:00", 24, 2],
      ],
    },
    {
      // The clock jumps from 02:00 to 03:00 on Sunday 31 March.
      title: "Berlin's week begins at 03:00 on Sunday, because the clock skips 02:30",
      timeZone: "Europe/Berlin",
      granularity: WEEK,
      dayStart: 2 * 60 + 30,
      weekStart: SUNDAY,
      from: "2024-03-31T12:00+02:00",
      to: "2024-04-07T02:29+02:00",
      entries: [
        ["2024-03-31T01:59:59.999999+01:00", 1],
        ["2024-03-31T03:00+02:00", 2],
        ["2024-04-07T02:29:59.999999+02:00", 4],
        ["2024-04-07T02:30+02:00", 8],
      ],
      periods: [["2024-03-31T03:00+02:00", 6, 2]],
    },
    {
      title: "a week from Sunday at 23:45 is nearly a week from Monday",
      timeZone: "UTC",
      granularity: WEEK,
      dayStart: 23 * 60 + 45,
      weekStart: SUNDAY,
      from: "2024-03-04T00:00Z",
      to: "2024-03-10T23:44Z",
      entries: [
        ["2024-03-03T23:44:59.999999Z", 1],
        ["2024-03-03T23:45Z", 2],
        ["2024-03-10T23:44:59.999999Z", 4],
        ["2024-03-10T23:45Z", 8],
      ],
      periods: [["2024-03-03T23:45Z", 6, 2]],
    },
  ]);
});

describe("where the clock skips days", () => {
  testNamedCases(service, [
    {
      title: "Samoa's week from Friday 30 December 2011 begins on Saturday, because there is no such Friday",
      timeZone: "Pacific/Apia",
      granularity: WEEK,
      weekStart: FRIDAY,
      from: "2011-12-29T12:00-10:00",
      to: "2011-12-31T00:00+14:00",
      entries: [
        ["2011-12-22T23:59:59.999999-10:00", 1],
        ["2011-12-23T00:00-10:00", 2],
        ["2011-12-29T23:59:59.999999-10:00", 4],
        ["2011-12-31T00:00+14:00", 8],
        ["2012-01-05T23:59:59.999999+14:00", 16],
        ["2012-01-06T00:00+14:00", 32],
      ],
      periods: [
        ["2011-12-23T00:00-10:00", 6, 2],
        ["2011-12-31T00:00+14:00", 24, 2],
      ],
    },
  ]);
});

describe("week_start does not change", () => {
  testNamedCases(
    service,
    (
      [
        ["days", DAY, "2024-03-31T00:00Z", "2024-04-01T00:00Z"],
        ["months", MONTH, "2024-03-01T00:00Z", "2024-04-01T00:00Z"],
        ["quarters", QUARTER, "2024-01-01T00:00Z", "2024-04-01T00:00Z"],
        ["years", YEAR, "2024-01-01T00:00Z", "2025-01-01T00:00Z"],
      ] as const
    ).map(([title, granularity, start, end]) => ({
      title,
      timeZone: "UTC",
      granularity,
      weekStart: SUNDAY,
      from: "2024-03-31T12:00Z",
      to: "2024-03-31T12:00Z",
      entries: [
        [lastInstantBefore(start), 1],
        [start, 2],
        [lastInstantBefore(end), 4],
        [end, 8],
      ],
      periods: [[start, 6, 2]],
    })),
  );
});

function lastInstantBefore(instant: string): string {
  return Temporal.Instant.from(instant).subtract({ microseconds: 1 }).toString();
}
