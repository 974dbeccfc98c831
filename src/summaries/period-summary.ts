import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PeriodSummarySchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { averageOf } from "./period-totals.ts";
import type { SummarizedPeriod } from "./summarize.ts";

/** Converts a period to the message that responses contain. */
export function periodSummary(summarized: SummarizedPeriod) {
  const { begins, totalWordCount, entryCount, movingAverage } = summarized;
  return {
    period: { seconds: BigInt(begins), nanos: 0 },
    averageWordsLearned: averageOf(summarized),
    totalWordCount,
    entryCount,
    ...(movingAverage !== undefined && { movingAverage }),
  } satisfies MessageInitShape<typeof PeriodSummarySchema>;
}
