import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { printable } from "./printable.ts";

/** A timestamp that was read from a file. */
export interface ParsedTimestamp {
  readonly timestamp: MessageInitShape<typeof TimestampSchema>;
  /** Whether the text is more precise than a microsecond, the precision that is stored. */
  readonly exceedsMicroseconds: boolean;
}

/**
 * Matches RFC 3339, and what PostgreSQL and Python write: a space instead of the T, an offset of whole hours, without
 * a colon or with seconds (historical local mean time), and a time of day without seconds or minutes. Does not match
 * second 60, which Temporal would change to 59.
 */
const shape =
  /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}(?::\d{2}(?::[0-5]\d(?:\.(?<fraction>\d{1,9}))?)?)?(?<zone>[Zz]|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?$/;

const nanosPerSecond = 1_000_000_000n;

/** @throws RangeError if the timestamp is invalid or has no time zone */
export function parseTimestamp(text: string): ParsedTimestamp {
  const { fraction = "", zone } = shape.exec(text)?.groups ?? {};
  if (zone === undefined) {
    const hint = shape.test(text) ? "has no time zone" : invalid;
    throw new RangeError(`timestamp ${printable(text)} ${hint}`);
  }
  let sinceEpoch: bigint;
  try {
    sinceEpoch = Temporal.Instant.from(text).epochNanoseconds;
  } catch {
    // The day, hour, minute or offset does not exist.
    throw new RangeError(`timestamp ${printable(text)} ${invalid}`);
  }
  const nanos = ((sinceEpoch % nanosPerSecond) + nanosPerSecond) % nanosPerSecond;
  return {
    timestamp: { seconds: (sinceEpoch - nanos) / nanosPerSecond, nanos: Number(nanos) },
    exceedsMicroseconds: /[1-9]/.test(fraction.slice("123456".length)),
  };
}

const invalid = "is not a valid time such as 2024-02-29T12:00:00+01:00";
