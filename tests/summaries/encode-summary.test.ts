import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { GetSummaryResponseSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { encodeSummary } from "../../src/summaries/encode-summary.ts";
import { periodSummary } from "../../src/summaries/period-summary.ts";

const int64 = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }));

const periods = fc.array(
  fc.record({
    // From before 1970 until after 9999.
    begins: fc.oneof(fc.constant(0), fc.integer({ min: -40_000_000, max: 260_000_000_000 })),
    totalWordCount: int64,
    entryCount: int64,
    movingAverage: fc.option(fc.oneof(fc.constant(0), fc.double({ min: 0, noNaN: true })), {
      nil: undefined,
    }),
  }),
);

test("a summary has the same bytes as the message that protobuf-es encodes", () => {
  fc.assert(
    fc.property(periods, fc.string(), (summarized, nextPageToken) => {
      const message = create(GetSummaryResponseSchema, {
        periods: summarized.map(periodSummary),
        nextPageToken,
      });
      expect(encodeSummary(summarized, nextPageToken)).toEqual(toBinary(GetSummaryResponseSchema, message));
    }),
  );
});
