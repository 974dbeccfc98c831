// Days, months, quarters and years that begin at another time than midnight. named-week-starts.test.ts tests weeks.

import { describe } from "vitest";
import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { HOUR, DAY, WEEK, MONTH, QUARTER, YEAR } = Granularity;
const service = useTestService();

const four = 4 * 60;

describe("days from 04:00", () => {
  testNamedCases(service, [
    {
      title: "the words that a learner in Berlin studied before 04:00 count for the day before",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: four,
      from: "2024-05-03T12:00+02:00",
      to: "2024-05-04T04:00+02:00",
      entries: [
        ["2024-05-03T12:00+02:00", 13],
        ["2024-05-04T00:30+02:00", 5],
        ["2024-05-04T03:59+02:00", 7],
        ["2024-05-04T04:00+02:00", 11],
      ],
      periods: [
        ["2024-05-03T04:00+02:00", 25, 3],
        ["2024-05-04T04:00+02:00", 11, 1],
      ],
    },
    {
      title: "a range from 03:59 to 04:00 contains two days",
      timeZone: "UTC",
      granularity: DAY,
      dayStart: four,
      from: "2024-05-04T03:59:59.999999Z",
      to: "2024-05-04T04:00Z",
      entries: [
        ["2024-05-03T03:59:59.999999Z", 1],
        ["2024-05-03T04:00Z", 2],
        ["2024-05-05T03:59:59.999999Z", 4],
        ["2024-05-05T04:00Z", 8],
      ],
      periods: [
        ["2024-05-03T04:00Z", 2, 1],
        ["2024-05-04T04:00Z", 4, 1],
      ],
    },
    {
      // The clock jumps at 02:00 on 31 March.
      title: "Berlin's Saturday, which ends at 04:00 on Sunday, has 23 hours, and the Sunday has 24",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: four,
      from: "2024-03-30T12:00+01:00",
      to: "2024-03-31T12:00+02:00",
      entries: [
        ["2024-03-30T03:59:59.999999+01:00", 1],
        ["2024-03-30T04:00+01:00", 2],
        ["2024-03-31T01:59:59.999999+01:00", 4],
        ["2024-03-31T03:59:59.999999+02:00", 8],
        ["2024-03-31T04:00+02:00", 16],
        ["2024-04-01T03:59:59.999999+02:00", 32],
        ["2024-04-01T04:00+02:00", 64],
      ],
      periods: [
        ["2024-03-30T04:00+01:00", 14, 3],
        ["2024-03-31T04:00+02:00", 48, 2],
      ],
    },
    {
      // The clock is set back at 03:00 on 27 October.
      title: "Berlin's Saturday, which ends at 04:00 on Sunday, has 25 hours, and the Sunday has 24",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: four,
      from: "2024-10-27T02:30+02:00",
      to: "2024-10-27T04:00+01:00",
      entries: [
        ["2024-10-26T03:59:59.999999+02:00", 1],
        ["2024-10-26T04:00+02:00", 2],
        ["2024-10-27T02:30+02:00", 4],
        ["2024-10-27T02:30+01:00", 8],
        ["2024-10-27T03:59:59.999999+01:00", 16],
        ["2024-10-27T04:00+01:00", 32],
        ["2024-10-28T03:59:59.999999+01:00", 64],
        ["2024-10-28T04:00+01:00", 128],
      ],
      periods: [
        ["2024-10-26T04:00+02:00", 30, 4],
        ["2024-10-27T04:00+01:00", 96, 2],
      ],
    },
    {
      // The clock jumps from midnight on 30 December to midnight on 31 December.
      title: "Samoa's day before 04:00 on 31 December 2011 has 4 hours, and the day before that has 20",
      timeZone: "Pacific/Apia",
      granularity: DAY,
      dayStart: four,
      from: "2011-12-29T12:00-10:00",
      to: "2011-12-31T12:00+14:00",
      entries: [
        ["2011-12-29T03:59:59.999999-10:00", 1],
        ["2011-12-29T04:00-10:00", 2],
        ["2011-12-29T23:59:59.999999-10:00", 4],
        ["2011-12-31T00:00+14:00", 8],
        ["2011-12-31T03:59:59.999999+14:00", 16],
        ["2011-12-31T04:00+14:00", 32],
        ["2012-01-01T03:59:59.999999+14:00", 64],
        ["2012-01-01T04:00+14:00", 128],
      ],
      periods: [
        ["2011-12-29T04:00-10:00", 6, 2],
        ["2011-12-31T00:00+14:00", 24, 2],
        ["2011-12-31T04:00+14:00", 96, 2],
      ],
    },
    {
      title: "a day in Kathmandu begins at 22:15 UTC",
      timeZone: "Asia/Kathmandu",
      granularity: DAY,
      dayStart: four,
      from: "2024-02-29T04:00+05:45",
      to: "2024-02-29T04:00+05:45",
      entries: [
        ["2024-02-28T22:14:59.999999Z", 1],
        ["2024-02-28T22:15Z", 2],
        ["2024-02-29T22:14:59.999999Z", 4],
        ["2024-02-29T22:15Z", 8],
      ],
      periods: [["2024-02-28T22:15Z", 6, 2]],
    },
  ]);
});

describe("where the clock jumps near the start of the day", () => {
  testNamedCases(service, [
    {
      // The clock jumps from 02:00 to 03:00.
      title: "Berlin's day from 02:30 begins at 03:00, and so it and the day before have 23.5 hours",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: 2 * 60 + 30,
      from: "2024-03-31T01:59:59.999999+01:00",
      to: "2024-03-31T03:00+02:00",
      entries: [
        ["2024-03-30T02:29:59.999999+01:00", 1],
        ["2024-03-30T02:30+01:00", 2],
        ["2024-03-31T01:59:59.999999+01:00", 4],
        ["2024-03-31T03:00+02:00", 8],
        ["2024-04-01T02:29:59.999999+02:00", 16],
        ["2024-04-01T02:30+02:00", 32],
      ],
      periods: [
        ["2024-03-30T02:30+01:00", 6, 2],
        ["2024-03-31T03:00+02:00", 24, 2],
      ],
    },
    {
      // The clock jumps from 02:00 to 03:00.
      title: "New York's day from 02:00 begins at 03:00, and it has 23 hours",
      timeZone: "America/New_York",
      granularity: DAY,
      dayStart: 2 * 60,
      from: "2024-03-09T12:00-05:00",
      to: "2024-03-10T12:00-04:00",
      entries: [
        ["2024-03-09T01:59:59.999999-05:00", 1],
        ["2024-03-09T02:00-05:00", 2],
        ["2024-03-10T01:59:59.999999-05:00", 4],
        ["2024-03-10T03:00-04:00", 8],
        ["2024-03-11T01:59:59.999999-04:00", 16],
        ["2024-03-11T02:00-04:00", 32],
      ],
      periods: [
        ["2024-03-09T02:00-05:00", 6, 2],
        ["2024-03-10T03:00-04:00", 24, 2],
      ],
    },
    {
      // The clock jumps from 02:00 to 02:30.
      title: "Lord Howe's day from 02:15 begins at 02:30",
      timeZone: "Australia/Lord_Howe",
      granularity: DAY,
      dayStart: 2 * 60 + 15,
      from: "2024-10-06T02:30+11:00",
      to: "2024-10-07T02:15+11:00",
      entries: [
        ["2024-10-06T01:59:59.999999+10:30", 1],
        ["2024-10-06T02:30+11:00", 2],
        ["2024-10-07T02:14:59.999999+11:00", 4],
        ["2024-10-07T02:15+11:00", 8],
      ],
      periods: [
        ["2024-10-06T02:30+11:00", 6, 2],
        ["2024-10-07T02:15+11:00", 8, 1],
      ],
    },
    {
      // At 00:01, the clock was set forward to 01:01, which is within a bucket.
      title: "St. John's 13 March 2011 begins at 01:01 instead of 00:30",
      timeZone: "America/St_Johns",
      granularity: DAY,
      dayStart: 30,
      from: "2011-03-13T00:00:59.999999-03:30",
      to: "2011-03-13T01:01-02:30",
      entries: [
        ["2011-03-12T00:29:59.999999-03:30", 1],
        ["2011-03-12T00:30-03:30", 2],
        ["2011-03-13T00:00:59.999999-03:30", 4],
        ["2011-03-13T01:01-02:30", 8],
        ["2011-03-14T00:29:59.999999-02:30", 16],
        ["2011-03-14T00:30-02:30", 32],
      ],
      periods: [
        ["2011-03-12T00:30-03:30", 6, 2],
        ["2011-03-13T01:01-02:30", 24, 2],
      ],
    },
    {
      // At 00:01, the clock was set forward to 03:01, which is within a bucket.
      title: "Casey Station's 3 October 2021 begins at 03:01 instead of 03:00",
      timeZone: "Antarctica/Casey",
      granularity: DAY,
      dayStart: 3 * 60,
      from: "2021-10-02T12:00+08:00",
      to: "2021-10-03T12:00+11:00",
      entries: [
        ["2021-10-02T02:59:59.999999+08:00", 1],
        ["2021-10-02T03:00+08:00", 2],
        ["2021-10-03T00:00:59.999999+08:00", 4],
        ["2021-10-03T03:01+11:00", 8],
        ["2021-10-04T02:59:59.999999+11:00", 16],
        ["2021-10-04T03:00+11:00", 32],
      ],
      periods: [
        ["2021-10-02T03:00+08:00", 6, 2],
        ["2021-10-03T03:01+11:00", 24, 2],
      ],
    },
    {
      // The clock jumps from 00:00 to 00:15.
      title: "Kathmandu's 1 January 1986 has 24 hours from 00:15, and the day before has 23.75",
      timeZone: "Asia/Kathmandu",
      granularity: DAY,
      dayStart: 15,
      from: "1985-12-31T12:00+05:30",
      to: "1986-01-01T12:00+05:45",
      entries: [
        ["1985-12-30T18:44:59.999999Z", 1],
        ["1985-12-30T18:45Z", 2],
        ["1985-12-31T18:29:59.999999Z", 4],
        ["1985-12-31T18:30Z", 8],
        ["1986-01-01T18:29:59.999999Z", 16],
        ["1986-01-01T18:30Z", 32],
      ],
      periods: [
        ["1985-12-30T18:45Z", 6, 2],
        ["1985-12-31T18:30Z", 24, 2],
      ],
    },
  ]);
});

describe("where the clock is set back near the start of the day", () => {
  testNamedCases(service, [
    {
      // The clock is set back from 03:00 to 02:00, into the day before.
      title: "Berlin's day from 02:30 begins at the first 02:30, and continues at the second",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: 2 * 60 + 30,
      from: "2024-10-26T12:00+02:00",
      to: "2024-10-27T12:00+01:00",
      entries: [
        ["2024-10-27T02:29:59.999999+02:00", 1],
        ["2024-10-27T02:30+02:00", 2],
        ["2024-10-27T02:59:59.999999+02:00", 4],
        ["2024-10-27T02:00+01:00", 8],
        ["2024-10-27T02:29:59.999999+01:00", 16],
        ["2024-10-27T02:30+01:00", 32],
        ["2024-10-28T02:29:59.999999+01:00", 64],
        ["2024-10-28T02:30+01:00", 128],
      ],
      periods: [
        ["2024-10-26T02:30+02:00", 25, 3],
        ["2024-10-27T02:30+02:00", 102, 4],
      ],
    },
    {
      title: "a range from Berlin's first 02:59 to the second 02:00 contains both days, in their order",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      dayStart: 2 * 60 + 30,
      from: "2024-10-27T02:59+02:00",
      to: "2024-10-27T02:00+01:00",
      entries: [
        ["2024-10-27T02:59+02:00", 1],
        ["2024-10-27T02:00+01:00", 2],
      ],
      periods: [
        ["2024-10-26T02:30+02:00", 2, 1],
        ["2024-10-27T02:30+02:00", 1, 1],
      ],
    },
    {
      // The clock is set back from 02:00 to 01:00, so it shows 02:00 once.
      title: "New York's day before 02:00 has 25 hours",
      timeZone: "America/New_York",
      granularity: DAY,
      dayStart: 2 * 60,
      from: "2024-11-02T12:00-04:00",
      to: "2024-11-03T12:00-05:00",
      entries: [
        ["2024-11-02T01:59:59.999999-04:00", 1],
        ["2024-11-02T02:00-04:00", 2],
        ["2024-11-03T01:59:59.999999-04:00", 4],
        ["2024-11-03T01:00-05:00", 8],
        ["2024-11-03T01:59:59.999999-05:00", 16],
        ["2024-11-03T02:00-05:00", 32],
        ["2024-11-04T02:00-05:00", 64],
      ],
      periods: [
        ["2024-11-02T02:00-04:00", 30, 4],
        ["2024-11-03T02:00-05:00", 32, 1],
      ],
    },
    {
      // The clock is set back from 02:00 to 01:00, to the start of the day.
      title: "New York's day from 01:00 begins at the first 01:00, and has 25 hours",
      timeZone: "America/New_York",
      granularity: DAY,
      dayStart: 60,
      from: "2024-11-03T01:00-05:00",
      to: "2024-11-03T01:00-05:00",
      entries: [
        ["2024-11-03T00:59:59.999999-04:00", 1],
        ["2024-11-03T01:00-04:00", 2],
        ["2024-11-03T01:00-05:00", 4],
        ["2024-11-04T00:59:59.999999-05:00", 8],
        ["2024-11-04T01:00-05:00", 16],
      ],
      periods: [["2024-11-03T01:00-04:00", 14, 3]],
    },
    {
      // The clock is set back from 02:00 to 01:30.
      title: "Lord Howe's day from 01:45 begins at the first 01:45, and continues at the second",
      timeZone: "Australia/Lord_Howe",
      granularity: DAY,
      dayStart: 60 + 45,
      from: "2024-04-06T12:00+11:00",
      to: "2024-04-07T12:00+10:30",
      entries: [
        ["2024-04-07T01:44:59.999999+11:00", 1],
        ["2024-04-07T01:45+11:00", 2],
        ["2024-04-07T01:59:59.999999+11:00", 4],
        ["2024-04-07T01:30+10:30", 8],
        ["2024-04-07T01:44:59.999999+10:30", 16],
        ["2024-04-07T01:45+10:30", 32],
        ["2024-04-08T01:44:59.999999+10:30", 64],
        ["2024-04-08T01:45+10:30", 128],
      ],
      periods: [
        ["2024-04-06T01:45+11:00", 25, 3],
        ["2024-04-07T01:45+11:00", 102, 4],
      ],
    },
    {
      // At 00:01 on Sunday, the clock was set back to 23:01 on Saturday.
      title: "St. John's day from 23:45 begins 16 minutes before the clock returns to the day before: 2009",
      timeZone: "America/St_Johns",
      granularity: DAY,
      dayStart: 23 * 60 + 45,
      from: "2009-10-31T12:00-02:30",
      to: "2009-11-01T12:00-03:30",
      entries: [
        ["2009-10-31T23:44:59.999999-02:30", 1],
        ["2009-10-31T23:45-02:30", 2],
        ["2009-11-01T00:00:59.999999-02:30", 4],
        ["2009-10-31T23:01-03:30", 8],
        ["2009-10-31T23:44:59.999999-03:30", 16],
        ["2009-10-31T23:45-03:30", 32],
        ["2009-11-01T23:44:59.999999-03:30", 64],
        ["2009-11-01T23:45-03:30", 128],
      ],
      periods: [
        ["2009-10-30T23:45-02:30", 25, 3],
        ["2009-10-31T23:45-02:30", 102, 4],
      ],
    },
    {
      // At 00:01 on Sunday, the clock was set back to 23:01 on Saturday, so it shows 00:15 once.
      title: "St. John's October 2009, which ends at 00:15, contains the first minute of 1 November",
      timeZone: "America/St_Johns",
      granularity: MONTH,
      dayStart: 15,
      from: "2009-10-31T23:30-03:30",
      to: "2009-11-01T00:15-03:30",
      entries: [
        ["2009-10-01T00:14:59.999999-02:30", 1],
        ["2009-10-01T00:15-02:30", 2],
        ["2009-11-01T00:00:59.999999-02:30", 4],
        ["2009-10-31T23:01-03:30", 8],
        ["2009-11-01T00:14:59.999999-03:30", 16],
        ["2009-11-01T00:15-03:30", 32],
      ],
      periods: [
        ["2009-10-01T00:15-02:30", 30, 4],
        ["2009-11-01T00:15-03:30", 32, 1],
      ],
    },
  ]);
});

describe("with days from 04:00, 03:59 on 1 January 2024, a Monday, belongs to", () => {
  testNamedCases(
    service,
    (
      [
        ["31 December", DAY, "2023-12-31T04:00+01:00"],
        ["the week before", WEEK, "2023-12-25T04:00+01:00"],
        ["December", MONTH, "2023-12-01T04:00+01:00"],
        // In summer time.
        ["the fourth quarter", QUARTER, "2023-10-01T04:00+02:00"],
        ["2023", YEAR, "2023-01-01T04:00+01:00"],
      ] as const
    ).map(([title, granularity, start]) => ({
      title,
      timeZone: "Europe/Berlin",
      granularity,
      dayStart: four,
      from: "2024-01-01T00:00+01:00",
      to: "2024-01-01T04:00+01:00",
      entries: [
        [start, 1],
        ["2024-01-01T03:59:59.999999+01:00", 2],
        ["2024-01-01T04:00+01:00", 4],
      ],
      periods: [
        [start, 3, 2],
        ["2024-01-01T04:00+01:00", 4, 1],
      ],
    })),
  );
});

describe("hours", () => {
  testNamedCases(service, [
    {
      title: "day_start and week_start do not shift Berlin's hours",
      timeZone: "Europe/Berlin",
      granularity: HOUR,
      dayStart: 2 * 60 + 30,
      weekStart: Weekday.SUNDAY,
      from: "2024-10-27T02:15+02:00",
      to: "2024-10-27T03:00+01:00",
      entries: [
        ["2024-10-27T02:29:59.999999+02:00", 1],
        ["2024-10-27T02:30+02:00", 2],
        ["2024-10-27T02:00+01:00", 4],
        ["2024-10-27T02:59:59.999999+01:00", 8],
        ["2024-10-27T03:00+01:00", 16],
      ],
      periods: [
        ["2024-10-27T02:00+02:00", 3, 2],
        ["2024-10-27T02:00+01:00", 12, 2],
        ["2024-10-27T03:00+01:00", 16, 1],
      ],
    },
  ]);
});
