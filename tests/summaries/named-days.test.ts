import { describe } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { DAY, WEEK, MONTH, YEAR } = Granularity;
const service = useTestService();

describe("days of 23 and 25 hours", () => {
  testNamedCases(service, [
    {
      title: "New York's day of 23 hours ends at midnight",
      timeZone: "America/New_York",
      granularity: DAY,
      from: "2024-03-09T12:00-05:00",
      to: "2024-03-11T12:00-04:00",
      entries: [
        ["2024-03-09T23:59:59.999999-05:00", 1],
        ["2024-03-10T00:00-05:00", 2],
        ["2024-03-10T23:59:59.999999-04:00", 4],
        ["2024-03-11T00:00-04:00", 8],
      ],
      periods: [
        ["2024-03-09T00:00-05:00", 1, 1],
        ["2024-03-10T00:00-05:00", 6, 2],
        ["2024-03-11T00:00-04:00", 8, 1],
      ],
    },
    {
      title: "New York's day of 25 hours ends at midnight",
      timeZone: "America/New_York",
      granularity: DAY,
      from: "2024-11-03T00:00-04:00",
      to: "2024-11-04T00:00-05:00",
      entries: [
        ["2024-11-02T23:59:59.999999-04:00", 1],
        ["2024-11-03T00:00-04:00", 2],
        ["2024-11-03T23:59:59.999999-05:00", 4],
        ["2024-11-04T00:00-05:00", 8],
      ],
      periods: [
        ["2024-11-03T00:00-04:00", 6, 2],
        ["2024-11-04T00:00-05:00", 8, 1],
      ],
    },
    {
      title: "Berlin's month with a day of 23 hours begins in winter time and ends in summer time",
      timeZone: "Europe/Berlin",
      granularity: MONTH,
      from: "2024-03-31T02:00+01:00",
      to: "2024-04-01T00:00+02:00",
      entries: [
        ["2024-02-29T23:59:59.999999+01:00", 1],
        ["2024-03-01T00:00+01:00", 2],
        ["2024-03-31T23:59:59.999999+02:00", 4],
        ["2024-04-01T00:00+02:00", 8],
      ],
      periods: [
        ["2024-03-01T00:00+01:00", 6, 2],
        ["2024-04-01T00:00+02:00", 8, 1],
      ],
    },
    {
      title: "Berlin's day of 25 hours contains both hours that begin at 02:00",
      timeZone: "Europe/Berlin",
      granularity: DAY,
      from: "2024-10-27T02:30+02:00",
      to: "2024-10-27T02:30+01:00",
      entries: [
        ["2024-10-27T02:30+02:00", 1],
        ["2024-10-27T02:30+01:00", 2],
        ["2024-10-28T00:00+01:00", 4],
      ],
      periods: [["2024-10-27T00:00+02:00", 3, 2]],
    },
  ]);
});

describe("midnight", () => {
  testNamedCases(service, [
    {
      title: "a day without a midnight begins at 01:00: Beirut",
      timeZone: "Asia/Beirut",
      granularity: DAY,
      from: "2024-03-30T12:00+02:00",
      to: "2024-03-31T12:00+03:00",
      entries: [
        ["2024-03-30T23:59:59.999999+02:00", 1],
        ["2024-03-31T01:00+03:00", 2],
      ],
      periods: [
        ["2024-03-30T00:00+02:00", 1, 1],
        ["2024-03-31T01:00+03:00", 2, 1],
      ],
    },
    {
      title: "a day without a midnight begins at 01:00: São Paulo",
      timeZone: "America/Sao_Paulo",
      granularity: DAY,
      from: "2018-11-04T01:00-02:00",
      to: "2018-11-04T01:00-02:00",
      entries: [
        ["2018-11-03T23:59:59.999999-03:00", 1],
        ["2018-11-04T01:00-02:00", 2],
        ["2018-11-04T23:59:59.999999-02:00", 4],
        ["2018-11-05T00:00-02:00", 8],
      ],
      periods: [["2018-11-04T01:00-02:00", 6, 2]],
    },
    {
      title: "a day with two midnights begins at the first: Havana",
      timeZone: "America/Havana",
      granularity: DAY,
      from: "2024-11-02T12:00-04:00",
      to: "2024-11-03T12:00-05:00",
      entries: [
        ["2024-11-02T23:59:59.999999-04:00", 1],
        ["2024-11-03T00:00-04:00", 2],
        ["2024-11-03T00:59:59.999999-04:00", 4],
        ["2024-11-03T00:00-05:00", 8],
      ],
      periods: [
        ["2024-11-02T00:00-04:00", 1, 1],
        ["2024-11-03T00:00-04:00", 14, 3],
      ],
    },
    {
      // At 00:01 on Sunday, the clock was set back to 23:01 on Saturday.
      title: "a day whose first minute is an hour before the rest begins with that minute: St. John's, 2010",
      timeZone: "America/St_Johns",
      granularity: DAY,
      from: "2010-11-06T12:00-02:30",
      to: "2010-11-07T12:00-03:30",
      entries: [
        ["2010-11-06T23:59:59.999999-02:30", 1],
        ["2010-11-07T00:00-02:30", 2],
        ["2010-11-07T00:00:59.999999-02:30", 4],
        ["2010-11-06T23:01-03:30", 8],
        ["2010-11-06T23:59:59.999999-03:30", 16],
        ["2010-11-07T00:00-03:30", 32],
        ["2010-11-07T00:01-03:30", 64],
      ],
      periods: [
        ["2010-11-06T00:00-02:30", 25, 3],
        ["2010-11-07T00:00-02:30", 102, 4],
      ],
    },
    {
      title:
        "a month whose first minute is an hour before the rest begins with that minute: St. John's, 2009",
      timeZone: "America/St_Johns",
      granularity: MONTH,
      from: "2009-11-01T00:00:30-02:30",
      to: "2009-11-01T00:00:30-02:30",
      entries: [
        ["2009-10-31T23:59:59.999999-02:30", 1],
        ["2009-11-01T00:00-02:30", 2],
        ["2009-10-31T23:01-03:30", 4],
        ["2009-11-01T00:00-03:30", 8],
      ],
      periods: [["2009-11-01T00:00-02:30", 10, 2]],
    },
    {
      title:
        "a range from November's first minute to October's last hour contains both months: St. John's, 2009",
      timeZone: "America/St_Johns",
      granularity: MONTH,
      from: "2009-11-01T00:00:30-02:30",
      to: "2009-10-31T23:30-03:30",
      entries: [
        ["2009-11-01T00:00:30-02:30", 1],
        ["2009-10-31T23:30-03:30", 2],
      ],
      periods: [
        ["2009-10-01T00:00-02:30", 2, 1],
        ["2009-11-01T00:00-02:30", 1, 1],
      ],
    },
    {
      // At 00:01, the clock was set forward to 01:01.
      title: "a day whose clock jumps right after midnight begins at midnight: St. John's, 2011",
      timeZone: "America/St_Johns",
      granularity: DAY,
      from: "2011-03-13T00:00:30-03:30",
      to: "2011-03-14T00:00-02:30",
      entries: [
        ["2011-03-12T23:59:59.999999-03:30", 1],
        ["2011-03-13T00:00-03:30", 2],
        ["2011-03-13T00:00:59.999999-03:30", 4],
        ["2011-03-13T01:01-02:30", 8],
        ["2011-03-14T00:00-02:30", 16],
      ],
      periods: [
        ["2011-03-13T00:00-03:30", 14, 3],
        ["2011-03-14T00:00-02:30", 16, 1],
      ],
    },
  ]);
});

describe("skipped days", () => {
  testNamedCases(service, [
    {
      title: "Samoa has no 30 December 2011",
      timeZone: "Pacific/Apia",
      granularity: DAY,
      from: "2011-12-29T12:00-10:00",
      to: "2011-12-31T12:00+14:00",
      entries: [
        ["2011-12-29T23:59:59.999999-10:00", 1],
        ["2011-12-31T00:00+14:00", 2],
        ["2011-12-31T23:59:59.999999+14:00", 4],
        ["2012-01-01T00:00+14:00", 8],
      ],
      periods: [
        ["2011-12-29T00:00-10:00", 1, 1],
        ["2011-12-31T00:00+14:00", 6, 2],
      ],
    },
    {
      title: "Samoa's last week of 2011 has six days",
      timeZone: "Pacific/Apia",
      granularity: WEEK,
      from: "2011-12-31T00:00+14:00",
      to: "2012-01-02T00:00+14:00",
      entries: [
        ["2011-12-26T00:00-10:00", 1],
        ["2011-12-29T23:59:59.999999-10:00", 2],
        ["2012-01-01T23:59:59.999999+14:00", 4],
        ["2012-01-02T00:00+14:00", 8],
      ],
      periods: [
        ["2011-12-26T00:00-10:00", 7, 3],
        ["2012-01-02T00:00+14:00", 8, 1],
      ],
    },
    {
      title: "in Kiritimati, 30 December 1994 is followed by 1 January 1995",
      timeZone: "Pacific/Kiritimati",
      granularity: DAY,
      from: "1994-12-30T23:59:59-10:00",
      to: "1995-01-01T00:00+14:00",
      entries: [
        ["1994-12-30T23:59:59.999999-10:00", 1],
        ["1995-01-01T00:00+14:00", 2],
      ],
      periods: [
        ["1994-12-30T00:00-10:00", 1, 1],
        ["1995-01-01T00:00+14:00", 2, 1],
      ],
    },
    {
      title: "Kiritimati's year 1994 has 364 days",
      timeZone: "Pacific/Kiritimati",
      granularity: YEAR,
      from: "1994-06-01T00:00-10:00",
      to: "1995-06-01T00:00+14:00",
      entries: [
        ["1994-12-30T23:59:59.999999-10:00", 1],
        ["1995-01-01T00:00+14:00", 2],
      ],
      periods: [
        ["1994-01-01T00:00-10:00", 1, 1],
        ["1995-01-01T00:00+14:00", 2, 1],
      ],
    },
  ]);
});
