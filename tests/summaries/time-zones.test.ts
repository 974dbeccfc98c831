import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";
import { askService, withAverages } from "./ask.ts";
import { summarize } from "./oracle.ts";
import { zoneNames } from "./zones.ts";

const service = useTestService();

test("quarters begin at the right instants in every IANA time zone", {
  timeout: 120_000,
}, async () => {
  const client = grpcClient(service.url);
  const userId = await recordLearner(service.database.connections, []);
  const differing: string[] = [];
  for (const timeZone of zoneNames) {
    const question = {
      timeZone,
      // Years whose rules no release of the IANA database changes any more.
      from: micros("2012-01-01T12:00Z"),
      to: micros("2021-12-31T12:00Z"),
      granularity: Granularity.QUARTER,
    };
    const answer = await askService(client, userId, question);
    if (!isDeepStrictEqual(answer, withAverages(summarize([], question)))) differing.push(timeZone);
  }
  expect(differing).toEqual([]);
});

test.for([
  ["CET", "Europe/Brussels"],
  ["MET", "Europe/Brussels"],
  ["EET", "Europe/Athens"],
  ["WET", "Europe/Lisbon"],
] as const)("%s has the summer time of %s", async ([name, link]) => {
  const client = grpcClient(service.url);
  const userId = await recordLearner(service.database.connections, []);
  const july = micros("2024-07-01T12:00Z");
  const ask = (timeZone: string) =>
    askService(client, userId, { timeZone, from: july, to: july, granularity: Granularity.DAY });
  expect(await ask(name)).toEqual(await ask(link));
});

test.for(["europe/berlin", "EUROPE/BERLIN", "cet"])("a zone in any letter case works: %s", async (name) => {
  const client = grpcClient(service.url);
  const userId = await recordLearner(service.database.connections, []);
  const july = micros("2024-07-01T12:00Z");
  const question = { timeZone: name, from: july, to: july, granularity: Granularity.DAY };
  expect(await askService(client, userId, question)).toMatchObject([{ period: "2024-06-30T22:00:00Z" }]);
});
