import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { DAY, WEEK, QUARTER, YEAR } = Granularity;
const service = useTestService();

testNamedCases(service, [
  {
    title: "29 February is a separate day",
    timeZone: "Europe/Berlin",
    granularity: DAY,
    from: "2024-02-28T00:00+01:00",
    to: "2024-03-01T00:00+01:00",
    entries: [
      ["2024-02-28T23:59:59.999999+01:00", 1],
      ["2024-02-29T00:00+01:00", 2],
      ["2024-02-29T23:59:59.999999+01:00", 4],
      ["2024-03-01T00:00+01:00", 8],
    ],
    periods: [
      ["2024-02-28T00:00+01:00", 1, 1],
      ["2024-02-29T00:00+01:00", 6, 2],
      ["2024-03-01T00:00+01:00", 8, 1],
    ],
  },
  {
    title:
      "Sunday 3 January 2021 is in the last week of 2020, and the next Monday is in the first week of 2021",
    timeZone: "UTC",
    granularity: WEEK,
    from: "2020-12-27T12:00Z",
    to: "2021-01-04T00:00Z",
    entries: [
      ["2020-12-27T23:59:59.999999Z", 1],
      ["2020-12-28T00:00Z", 2],
      ["2021-01-03T23:59:59.999999Z", 4],
      ["2021-01-04T00:00Z", 8],
    ],
    periods: [
      ["2020-12-21T00:00Z", 1, 1],
      ["2020-12-28T00:00Z", 6, 2],
      ["2021-01-04T00:00Z", 8, 1],
    ],
  },
  {
    title: "quarters begin in January, April, July and October",
    timeZone: "Europe/Berlin",
    granularity: QUARTER,
    from: "2024-03-31T23:59:59+02:00",
    to: "2024-12-31T23:59:59+01:00",
    entries: [
      ["2024-01-01T00:00+01:00", 1],
      ["2024-03-31T23:59:59.999999+02:00", 2],
      ["2024-04-01T00:00+02:00", 4],
      ["2024-06-30T23:59:59.999999+02:00", 8],
      ["2024-07-01T00:00+02:00", 16],
      ["2024-10-01T00:00+02:00", 32],
      ["2024-12-31T23:59:59.999999+01:00", 64],
      ["2025-01-01T00:00+01:00", 128],
    ],
    periods: [
      ["2024-01-01T00:00+01:00", 3, 2],
      ["2024-04-01T00:00+02:00", 12, 2],
      ["2024-07-01T00:00+02:00", 16, 1],
      ["2024-10-01T00:00+02:00", 96, 2],
    ],
  },
  {
    title: "a year of 366 days is one year",
    timeZone: "Asia/Tokyo",
    granularity: YEAR,
    from: "2023-12-31T23:59:59.999999+09:00",
    to: "2024-12-31T23:59:59.999999+09:00",
    entries: [
      ["2023-12-31T23:59:59.999999+09:00", 1],
      ["2024-01-01T00:00+09:00", 2],
      ["2024-12-31T23:59:59.999999+09:00", 4],
      ["2025-01-01T00:00+09:00", 8],
    ],
    periods: [
      ["2023-01-01T00:00+09:00", 1, 1],
      ["2024-01-01T00:00+09:00", 6, 2],
    ],
  },
  {
    title: "the first instant of 1970 in UTC is in the year 1969 in New York",
    timeZone: "America/New_York",
    granularity: YEAR,
    from: "1970-01-01T00:00Z",
    to: "1970-01-01T00:00-05:00",
    entries: [
      ["1970-01-01T00:00Z", 1],
      ["1969-12-31T23:59:59.999999-05:00", 2],
      ["1970-01-01T00:00-05:00", 4],
    ],
    periods: [
      ["1969-01-01T00:00-05:00", 3, 2],
      ["1970-01-01T00:00-05:00", 4, 1],
    ],
  },
]);
