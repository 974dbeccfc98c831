import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { printable } from "./printable.ts";

/** A time as a file has it. */
export interface ParsedTimestamp {
  readonly timestamp: MessageInitShape<typeof TimestampSchema>;
  /** Whether the file is more exact than the microsecond that is kept. */
  readonly isFiner: boolean;
}

/**
 * What RFC 3339 allows, and what PostgreSQL and Python write: a space for the T, an offset of whole hours or without a
 * colon, one with seconds (the local time of old days), and a time of day that ends with the minute or the hour.
 * The 60th second is missing: Temporal would take it for the 59th.
 */
const shape =
  /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}(?::\d{2}(?::[0-5]\d(?:\.(?<fraction>\d{1,9}))?)?)?(?<zone>[Zz]|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?$/;

const nanosPerSecond = 1_000_000_000n;

/** @throws RangeError that says what is wrong */
export function parseTimestamp(text: string): ParsedTimestamp {
  const { fraction = "", zone } = shape.exec(text)?.groups ?? {};
  if (zone === undefined) {
    const hint = shape.test(text) ? "has no time zone" : notAsIn;
    throw new RangeError(`timestamp ${printable(text)} ${hint}`);
  }
  let sinceEpoch: bigint;
  try {
    sinceEpoch = Temporal.Instant.from(text).epochNanoseconds;
  } catch {
    // There is no such day, hour, minute or offset.
    throw new RangeError(`timestamp ${printable(text)} ${notAsIn}`);
  }
  const nanos = ((sinceEpoch % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return {
    timestamp: { seconds: (sinceEpoch - nanos) / nanosPerSecond, nanos: Number(nanos) },
    isFiner: /[1-9]/.test(fraction.slice("123456".length)),
  };
}

const notAsIn = "is not as in 2024-02-29T12:00:00+01:00";
