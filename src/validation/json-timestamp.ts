import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";

const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|[+-](\d\d):(\d\d))$/;

/**
 * Whether a JSON value is a google.protobuf.Timestamp of a time that exists. The decoder would accept February 30 as
 * March 2, and hour 24 as the next day. A Timestamp cannot represent a leap second, such as 23:59:60.
 */
export function isTimestamp(json: JsonValue): boolean {
  const parts = typeof json === "string" ? rfc3339.exec(json) : null;
  if (parts === null) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, offsetHour = 0, offsetMinute = 0] =
    parts.slice(1).map((part) => Number(part ?? 0));
  return (
    isWithin(month, 1, 12) &&
    isWithin(day, 1, daysIn(year, month)) &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59 &&
    offsetHour <= 23 &&
    offsetMinute <= 59 &&
    // In the years 1 and 9999, an offset can move the time out of a Timestamp's range, which the decoder checks.
    (isWithin(year, 2, 9998) || canBeDecoded(json))
  );
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

function isWithin(value: number, first: number, last: number): boolean {
  return value >= first && value <= last;
}

function canBeDecoded(json: JsonValue): boolean {
  try {
    fromJson(TimestampSchema, json);
    return true;
  } catch {
    return false;
  }
}
