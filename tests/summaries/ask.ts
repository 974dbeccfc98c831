import type { PeriodSummary } from "#gen/dailyaggregator/v1/summary_pb.js";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import type { LearningLogClient } from "../support/clients.ts";
import type { OraclePeriod, OracleQuestion } from "./oracle.ts";

// Asks the service the questions of the oracle, and converts the answers to the format of the oracle.

/** A period in the oracle's format, with the average words per entry. */
export interface AnsweredPeriod extends OraclePeriod {
  readonly average: number;
}

/** Converts a question to a request for GetSummary or WatchSummary. */
export function summaryRequestOf(userId: string, question: OracleQuestion) {
  return {
    ...question,
    userId,
    from: timestampFromMicros(question.from),
    to: timestampFromMicros(question.to),
  };
}

/** Calls GetSummary. The answer must fit into one page. */
export async function askService(
  client: LearningLogClient,
  userId: string,
  question: OracleQuestion,
): Promise<AnsweredPeriod[]> {
  const { periods } = await client.getSummary(summaryRequestOf(userId, question));
  return periods.map(answeredPeriod);
}

/** Calls GetSummary for each page, and returns all pages. */
export async function askForPages(
  client: LearningLogClient,
  userId: string,
  question: OracleQuestion,
  pageSize: number,
): Promise<AnsweredPeriod[][]> {
  const pages: AnsweredPeriod[][] = [];
  let pageToken = "";
  do {
    const request = { ...summaryRequestOf(userId, question), pageSize, pageToken };
    const { periods, nextPageToken } = await client.getSummary(request);
    pages.push(periods.map(answeredPeriod));
    pageToken = nextPageToken;
  } while (pageToken !== "");
  return pages;
}

/** Converts a period of an answer to the oracle's format. */
export function answeredPeriod(period: PeriodSummary): AnsweredPeriod {
  return {
    period: isoInstant(period.period),
    total: period.totalWordCount,
    count: period.entryCount,
    average: period.averageWordsLearned,
    ...(period.movingAverage !== undefined && { movingAverage: period.movingAverage }),
  };
}

/** Adds the averages to the oracle's periods. The result is the answer that the service must give. */
export function withAverages(periods: readonly OraclePeriod[]): AnsweredPeriod[] {
  return periods.map((period) => ({
    ...period,
    average: period.count === 0n ? 0 : Number(period.total) / Number(period.count),
  }));
}

function isoInstant(period: { seconds: bigint; nanos: number } | undefined): string {
  if (period === undefined) throw new Error("a period must have a name");
  return Temporal.Instant.fromEpochNanoseconds(
    period.seconds * 1_000_000_000n + BigInt(period.nanos),
  ).toString();
}
