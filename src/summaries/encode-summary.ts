import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { GetSummaryResponseSchema, PeriodSummarySchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { averageOf } from "./period-totals.ts";
import type { SummarizedPeriod } from "./summarize.ts";

const { periods: periodsField, nextPageToken: tokenField } = GetSummaryResponseSchema.field;
const period = PeriodSummarySchema.field;
const timestamp = TimestampSchema.field;

/**
 * Encodes a GetSummaryResponse as `toBinary` does, in a quarter of the time: it creates no message objects, of which a
 * year by hour has 17,000.
 */
export function encodeSummary(
  periods: readonly SummarizedPeriod[],
  nextPageToken: string,
): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  for (const summarized of periods) {
    writer.tag(periodsField.number, WireType.LengthDelimited).fork();
    writePeriod(writer, summarized);
    writer.join();
  }
  if (nextPageToken !== "") writer.tag(tokenField.number, WireType.LengthDelimited).string(nextPageToken);
  return writer.finish();
}

/** Omits a field whose value is 0, as the binary format requires, unless the field is optional. */
function writePeriod(writer: BinaryWriter, summarized: SummarizedPeriod): void {
  const { begins, totalWordCount, entryCount, movingAverage } = summarized;
  const average = averageOf(summarized);
  writer.tag(period.period.number, WireType.LengthDelimited).fork();
  if (begins !== 0) writer.tag(timestamp.seconds.number, WireType.Varint).int64(begins);
  writer.join();
  if (average !== 0) writer.tag(period.averageWordsLearned.number, WireType.Bit64).double(average);
  if (totalWordCount !== 0n) writer.tag(period.totalWordCount.number, WireType.Varint).int64(totalWordCount);
  if (entryCount !== 0n) writer.tag(period.entryCount.number, WireType.Varint).int64(entryCount);
  if (movingAverage !== undefined)
    writer.tag(period.movingAverage.number, WireType.Bit64).double(movingAverage);
}
