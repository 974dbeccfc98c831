import { Code } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { Calendar } from "../../src/summaries/calendar.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { calendarUnits } from "../../src/summaries/granularity.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { TestClock } from "../support/test-clock.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { connectionPoolOver, createTestPool } from "../support/test-pool.ts";
import { transitionsOf, zoneNames } from "./zones.ts";

const database = useTestDatabase();
const { signal } = new AbortController();
const hour = 3_600;
const year2024 = { from: Date.UTC(2024, 1) / 1000, to: Date.UTC(2024, 11) / 1000 };

const partsOf = (calendar: Calendar) => calendar.partsOf(0, 10_000);

const rulesOf = (timeZone: string, shiftMinutes = 0) => ({
  unit: calendarUnits[Granularity.DAY],
  timeZone,
  shiftMinutes,
});

test("the database is asked for a year of a calendar once, and again after an hour", async () => {
  const pool = createTestPool(database.url);
  const connections = connectionPoolOver(pool);
  const clock = new TestClock();
  const calendars = new Calendars(clock);
  const ask = () => calendars.between(connections, rulesOf("europe/berlin"), year2024, signal);
  const first = await ask();
  await pool.end();
  clock.stop();
  clock.advance(59 * 60 * 1000);
  expect(partsOf(await ask())).toEqual(partsOf(first));
  clock.advance(2 * 60 * 1000);
  // The pool has ended, so whoever asks the database fails.
  await vi.waitFor(() => expect(ask()).rejects.toMatchObject({ code: Code.Unavailable }));
});

test("a range within known years needs no database, and a longer one only for the years that are missing", async () => {
  const calendars = new Calendars();
  const rules = rulesOf("america/havana");
  const years = (first: number, last: number) => ({
    from: Date.UTC(first, 0) / 1000,
    to: Date.UTC(last + 1, 0) / 1000 - 1,
  });
  await calendars.between(database.connections, rules, years(2020, 2021), signal);
  const longer = await calendars.between(database.connections, rules, years(2019, 2023), signal);
  const whole = await new Calendars().between(database.connections, rules, years(2019, 2023), signal);
  expect(partsOf(longer)).toEqual(partsOf(whole));
});

test("calls that ask for the same year at once share one statement, even if one of them is cancelled", async () => {
  const calendars = new Calendars();
  const rules = rulesOf("asia/kathmandu");
  const leaving = new AbortController();
  const left = calendars.between(database.connections, rules, year2024, leaving.signal);
  const staying = calendars.between(database.connections, rules, year2024, signal);
  leaving.abort(new Error("left"));
  await expect(left).rejects.toThrow("left");
  const calendar = await staying;
  expect(calendar.beginningOf(calendar.positionAt(year2024.from)) % (24 * hour)).toBe(18.25 * hour);
});

test("a call gets its calendar although another call for the same year was just cancelled", async () => {
  const calendars = new Calendars();
  const ask = (signal: AbortSignal) =>
    calendars.between(database.connections, rulesOf("pacific/apia"), year2024, signal);
  const leaving = new AbortController();
  const left = ask(leaving.signal);
  leaving.abort(new Error("left"));
  await expect(left).rejects.toThrow("left");
  const calendar = await ask(signal);
  expect(calendar.beginningOf(calendar.positionAt(year2024.from)) % (24 * hour)).toBe(11 * hour);
});

test("the database is asked again after the calendars were cleared", async () => {
  const pool = createTestPool(database.url);
  const connections = connectionPoolOver(pool);
  const calendars = new Calendars();
  const ask = () => calendars.between(connections, rulesOf("asia/tokyo"), year2024, signal);
  await ask();
  await pool.end();
  await ask();
  calendars.clear();
  await expect(ask()).rejects.toMatchObject({ code: Code.Unavailable });
});

test("a time zone that the database does not know is INVALID_ARGUMENT each time", async () => {
  const calendars = new Calendars();
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const error = await failureOf(
      calendars.between(database.connections, rulesOf("mars/olympus_mons"), year2024, signal),
    );
    expect({ code: error.code, fields: violatedFields(error) }).toEqual({
      code: Code.InvalidArgument,
      fields: ["time_zone"],
    });
  }
});

test("a call gets the same calendar whatever time zone the database session has", async () => {
  const url = new URL(database.url);
  url.searchParams.set("options", "-c TimeZone=America/New_York");
  const pool = createTestPool(url.href);
  const rules = rulesOf("europe/berlin", 240);
  const there = await new Calendars().between(connectionPoolOver(pool), rules, year2024, signal);
  await pool.end();
  const here = await new Calendars().between(database.connections, rules, year2024, signal);
  expect(partsOf(there)).toEqual(partsOf(here));
});

test("a calendar does not mix old and new time zone rules", async () => {
  const years = { from: Date.UTC(2023, 6) / 1000, to: Date.UTC(2024, 6) / 1000 };
  const url = new URL(database.url);
  url.searchParams.set("options", "-c search_path=changed_rules,pg_catalog");
  await database.pool.query(`
    CREATE SCHEMA changed_rules;
    CREATE FUNCTION changed_rules.date_trunc(unit text, source timestamp) RETURNS timestamp IMMUTABLE
    RETURN pg_catalog.date_trunc(unit, source - interval '1 hour') + interval '1 hour'`);
  const pool = createTestPool(url.href);
  const changed = connectionPoolOver(pool);
  const calendars = new Calendars();
  await calendars.between(database.connections, rulesOf("utc"), { from: years.from, to: years.from }, signal);
  const read = await calendars.between(changed, rulesOf("utc"), years, signal);
  const fresh = await new Calendars().between(changed, rulesOf("utc"), years, signal);
  await pool.end();
  expect(partsOf(read)).toEqual(partsOf(fresh));
  expect(read.beginningOf(read.positionAt(years.from))).toBe(years.from - 23 * hour);
});

// What find-labels.ts relies on.
test("no clock changes twice within two days, or between two half minutes, from 1970 to 2100", () => {
  const [from, to] = [Temporal.Instant.from("1970-01-01T00:00Z"), Temporal.Instant.from("2100-01-01T00:00Z")];
  for (const zone of zoneNames) {
    const changes = transitionsOf(zone, from, to).map(({ epochMilliseconds }) => epochMilliseconds / 1000);
    const gaps = changes.slice(1).map((change, index) => change - (changes[index] ?? 0));
    expect(Math.min(...gaps), zone).toBeGreaterThan(48 * hour);
    expect(
      changes.filter((change) => change % 30 !== 0),
      zone,
    ).toEqual([]);
  }
});
