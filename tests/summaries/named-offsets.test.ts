// Days in zones whose offset from UTC is not a whole number of hours. named-hours.test.ts tests their hours.

import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { DAY } = Granularity;
const service = useTestService();

testNamedCases(service, [
  {
    title: "a day in Kolkata begins at 18:30 UTC",
    timeZone: "Asia/Kolkata",
    granularity: DAY,
    from: "2024-02-29T00:00+05:30",
    to: "2024-02-29T00:00+05:30",
    entries: [
      ["2024-02-28T18:29:59.999999Z", 1],
      ["2024-02-28T18:30Z", 2],
    ],
    periods: [["2024-02-28T18:30Z", 2, 1]],
  },
  {
    title: "a day in Kathmandu begins at 18:15 UTC",
    timeZone: "Asia/Kathmandu",
    granularity: DAY,
    from: "2024-02-29T00:00+05:45",
    to: "2024-02-29T00:00+05:45",
    entries: [
      ["2024-02-28T18:14:59.999999Z", 1],
      ["2024-02-28T18:15Z", 2],
    ],
    periods: [["2024-02-28T18:15Z", 2, 1]],
  },
  {
    title: "in Kathmandu, 1 January 1986 begins at 00:15, and no instant is left out",
    timeZone: "Asia/Kathmandu",
    granularity: DAY,
    from: "1985-12-31T12:00+05:30",
    to: "1986-01-02T12:00+05:45",
    entries: [
      ["1985-12-31T18:29:59.999999Z", 1],
      ["1985-12-31T18:30Z", 2],
      ["1986-01-01T18:14:59.999999Z", 4],
      ["1986-01-01T18:15Z", 8],
    ],
    periods: [
      ["1985-12-30T18:30Z", 1, 1],
      ["1985-12-31T18:30Z", 6, 2],
      ["1986-01-01T18:15Z", 8, 1],
    ],
  },
  {
    title: "a day in the Chatham Islands begins at 10:15 UTC in summer, and at 11:15 UTC in winter",
    timeZone: "Pacific/Chatham",
    granularity: DAY,
    from: "2024-04-07T00:00+13:45",
    to: "2024-04-08T00:00+12:45",
    entries: [
      ["2024-04-06T10:15Z", 1],
      ["2024-04-07T11:14:59.999999Z", 2],
      ["2024-04-07T11:15Z", 4],
    ],
    periods: [
      ["2024-04-06T10:15Z", 3, 2],
      ["2024-04-07T11:15Z", 4, 1],
    ],
  },
  {
    title: "Lord Howe's day of 24.5 hours ends at midnight",
    timeZone: "Australia/Lord_Howe",
    granularity: DAY,
    from: "2024-04-07T00:00+11:00",
    to: "2024-04-08T00:00+10:30",
    entries: [
      ["2024-04-07T00:00+11:00", 1],
      ["2024-04-07T23:59:59.999999+10:30", 2],
      ["2024-04-08T00:00+10:30", 4],
    ],
    periods: [
      ["2024-04-07T00:00+11:00", 3, 2],
      ["2024-04-08T00:00+10:30", 4, 1],
    ],
  },
  {
    // The clock was 44 minutes and 30 seconds behind UTC. At midnight, which is within a bucket, it was set to UTC.
    title: "Monrovia's 7 January 1972 begins at 00:44:30",
    timeZone: "Africa/Monrovia",
    granularity: DAY,
    from: "1972-01-06T12:00Z",
    to: "1972-01-08T12:00Z",
    entries: [
      ["1972-01-06T00:44:29.999999Z", 1],
      ["1972-01-06T00:44:30Z", 2],
      ["1972-01-07T00:44:29.999999Z", 4],
      ["1972-01-07T00:44:30Z", 8],
      ["1972-01-07T23:59:59.999999Z", 16],
      ["1972-01-08T00:00Z", 32],
    ],
    periods: [
      ["1972-01-06T00:44:30Z", 6, 2],
      ["1972-01-07T00:44:30Z", 24, 2],
      ["1972-01-08T00:00Z", 32, 1],
    ],
  },
]);
