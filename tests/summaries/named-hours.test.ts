import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestService } from "../support/test-service.ts";
import { testNamedCases } from "./named-case.ts";

const { HOUR } = Granularity;
const service = useTestService();

testNamedCases(service, [
  {
    title: "a summary has no period for the hour that New York's clock skips",
    timeZone: "America/New_York",
    granularity: HOUR,
    from: "2024-03-10T01:30-05:00",
    to: "2024-03-10T03:30-04:00",
    entries: [
      ["2024-03-10T01:59:59.999999-05:00", 1],
      ["2024-03-10T03:00-04:00", 2],
      ["2024-03-10T04:00-04:00", 4],
    ],
    periods: [
      ["2024-03-10T01:00-05:00", 1, 1],
      ["2024-03-10T03:00-04:00", 2, 1],
    ],
  },
  {
    title: "a summary has two periods for the hour that Berlin's clock repeats",
    timeZone: "Europe/Berlin",
    granularity: HOUR,
    from: "2024-10-27T02:59+02:00",
    to: "2024-10-27T03:00+01:00",
    entries: [
      ["2024-10-27T02:59:59.999999+02:00", 1],
      ["2024-10-27T02:00+01:00", 2],
      ["2024-10-27T02:59:59.999999+01:00", 4],
      ["2024-10-27T03:00+01:00", 8],
    ],
    periods: [
      ["2024-10-27T02:00+02:00", 1, 1],
      ["2024-10-27T02:00+01:00", 6, 2],
      ["2024-10-27T03:00+01:00", 8, 1],
    ],
  },
  {
    title: "hours in Kathmandu begin at a quarter past the hour in UTC",
    timeZone: "Asia/Kathmandu",
    granularity: HOUR,
    from: "2024-02-29T08:00+05:45",
    to: "2024-02-29T09:00+05:45",
    entries: [
      ["2024-02-29T02:14:59.999999Z", 1],
      ["2024-02-29T02:15Z", 2],
      ["2024-02-29T03:14:59.999999Z", 4],
      ["2024-02-29T03:15Z", 8],
    ],
    periods: [
      ["2024-02-29T02:15Z", 6, 2],
      ["2024-02-29T03:15Z", 8, 1],
    ],
  },
  {
    // The clock jumps from 02:45 to 03:45. So the period is 02:00 to 02:45, and 03:45 to 04:00.
    title: "an hour in which the Chatham Islands' clock jumps is one period of 60 minutes",
    timeZone: "Pacific/Chatham",
    granularity: HOUR,
    from: "2024-09-29T02:00+12:45",
    to: "2024-09-29T04:00+13:45",
    entries: [
      ["2024-09-29T02:44:59.999999+12:45", 1],
      ["2024-09-29T03:45+13:45", 2],
      ["2024-09-29T03:59:59.999999+13:45", 4],
      ["2024-09-29T04:00+13:45", 8],
    ],
    periods: [
      ["2024-09-29T02:00+12:45", 7, 3],
      ["2024-09-29T04:00+13:45", 8, 1],
    ],
  },
  {
    title: "an hour in which St. John's clock is set back is one period of 60 minutes",
    timeZone: "America/St_Johns",
    granularity: HOUR,
    from: "2010-11-06T23:00-02:30",
    to: "2010-11-07T00:00-03:30",
    entries: [
      ["2010-11-06T23:59:59.999999-02:30", 1],
      ["2010-11-07T00:00:59.999999-02:30", 2],
      ["2010-11-06T23:01-03:30", 4],
      ["2010-11-06T23:59:59.999999-03:30", 8],
      ["2010-11-07T00:00-03:30", 16],
    ],
    periods: [
      ["2010-11-06T23:00-02:30", 1, 1],
      ["2010-11-07T00:00-02:30", 14, 3],
      ["2010-11-07T00:00-03:30", 16, 1],
    ],
  },
  {
    // The clock jumps from 02:00 to 02:30.
    title: "the half hour that remains when Lord Howe's clock jumps is a period of 30 minutes",
    timeZone: "Australia/Lord_Howe",
    granularity: HOUR,
    from: "2024-10-06T01:00+10:30",
    to: "2024-10-06T03:00+11:00",
    entries: [
      ["2024-10-06T01:59:59.999999+10:30", 1],
      ["2024-10-06T02:30+11:00", 2],
      ["2024-10-06T02:59:59.999999+11:00", 4],
      ["2024-10-06T03:00+11:00", 8],
    ],
    periods: [
      ["2024-10-06T01:00+10:30", 1, 1],
      ["2024-10-06T02:30+11:00", 6, 2],
      ["2024-10-06T03:00+11:00", 8, 1],
    ],
  },
  {
    // The clock is set back from 02:00 to 01:30.
    title: "the half hour that Lord Howe's clock repeats is a separate period",
    timeZone: "Australia/Lord_Howe",
    granularity: HOUR,
    from: "2024-04-07T01:00+11:00",
    to: "2024-04-07T02:00+10:30",
    entries: [
      ["2024-04-07T01:59:59.999999+11:00", 1],
      ["2024-04-07T01:30+10:30", 2],
      ["2024-04-07T01:59:59.999999+10:30", 4],
      ["2024-04-07T02:00+10:30", 8],
    ],
    periods: [
      ["2024-04-07T01:00+11:00", 1, 1],
      ["2024-04-07T01:30+10:30", 6, 2],
      ["2024-04-07T02:00+10:30", 8, 1],
    ],
  },
  {
    // The clock jumps from 00:00 to 00:15.
    title: "Kathmandu's first hour of 1986 is a period of 45 minutes",
    timeZone: "Asia/Kathmandu",
    granularity: HOUR,
    from: "1985-12-31T23:59:59.999999+05:30",
    to: "1986-01-01T01:00+05:45",
    entries: [
      ["1985-12-31T23:59:59.999999+05:30", 1],
      ["1986-01-01T00:15+05:45", 2],
      ["1986-01-01T00:59:59.999999+05:45", 4],
      ["1986-01-01T01:00+05:45", 8],
    ],
    periods: [
      ["1985-12-31T23:00+05:30", 1, 1],
      ["1986-01-01T00:15+05:45", 6, 2],
      ["1986-01-01T01:00+05:45", 8, 1],
    ],
  },
  {
    // The clock was 44 minutes and 30 seconds behind UTC. It jumps from 00:00 to 00:44:30, which is within a bucket.
    title: "Monrovia's first hour of 7 January 1972 is a period of 15.5 minutes",
    timeZone: "Africa/Monrovia",
    granularity: HOUR,
    from: "1972-01-06T23:44:30Z",
    to: "1972-01-07T01:00Z",
    entries: [
      ["1972-01-06T23:44:29.999999Z", 1],
      ["1972-01-06T23:44:30Z", 2],
      ["1972-01-07T00:44:29.999999Z", 4],
      ["1972-01-07T00:44:30Z", 8],
      ["1972-01-07T00:59:59.999999Z", 16],
      ["1972-01-07T01:00Z", 32],
    ],
    periods: [
      ["1972-01-06T23:44:30Z", 6, 2],
      ["1972-01-07T00:44:30Z", 24, 2],
      ["1972-01-07T01:00Z", 32, 1],
    ],
  },
  {
    // The clock jumps from 00:00 to 00:40.
    title: "Kiritimati's first hour of October 1979 is a period of 20 minutes",
    timeZone: "Pacific/Kiritimati",
    granularity: HOUR,
    from: "1979-10-01T10:39:59Z",
    to: "1979-10-01T12:00Z",
    entries: [
      ["1979-10-01T10:39:59.999999Z", 1],
      ["1979-10-01T10:40Z", 2],
      ["1979-10-01T10:59:59.999999Z", 4],
      ["1979-10-01T11:00Z", 8],
      ["1979-10-01T12:59:59.999999Z", 16],
      ["1979-10-01T13:00Z", 32],
    ],
    periods: [
      ["1979-10-01T09:40Z", 1, 1],
      ["1979-10-01T10:40Z", 6, 2],
      ["1979-10-01T11:00Z", 8, 1],
      ["1979-10-01T12:00Z", 16, 1],
    ],
  },
  {
    title: "an hour in UTC ends at the first instant of the next hour",
    timeZone: "UTC",
    granularity: HOUR,
    from: "2024-02-29T23:59:59.999999Z",
    to: "2024-03-01T00:00Z",
    entries: [
      ["2024-02-29T22:59:59.999999Z", 1],
      ["2024-02-29T23:00Z", 2],
      ["2024-02-29T23:59:59.999999Z", 4],
      ["2024-03-01T00:00Z", 8],
    ],
    periods: [
      ["2024-02-29T23:00Z", 6, 2],
      ["2024-03-01T00:00Z", 8, 1],
    ],
  },
]);
