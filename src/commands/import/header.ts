import { printable } from "./printable.ts";

/** The positions of an entry's fields in a row. */
export interface Columns {
  readonly requestId: number;
  readonly userId: number;
  readonly wordCount: number;
  readonly timestamp: number;
  /** The least number of fields that a row must have. Further fields must be empty. */
  readonly count: number;
  /** The positions for which the first line has an empty name. A row must have empty fields there. */
  readonly unnamed: readonly number[];
}

const names = ["request_id", "user_id", "word_count", "timestamp"] as const;

/**
 * Finds the columns of an entry in the first line of a file.
 *
 * @param header the fields of the first line
 * @throws Error if a column is missing or named more than once
 */
export function findColumns(header: readonly string[]): Columns {
  const found = header.map((name) => name.trim());
  const missing = names.filter((name) => !found.includes(name));
  if (missing.length > 0) {
    throw new Error(`columns missing in the first line: ${missing.join(", ")}${hintAt(found, missing)}`);
  }
  for (const name of names) requireOne(name, found);
  return {
    requestId: found.indexOf("request_id"),
    userId: found.indexOf("user_id"),
    wordCount: found.indexOf("word_count"),
    timestamp: found.indexOf("timestamp"),
    count: found.findLastIndex((name) => name !== "") + 1,
    unnamed: found.flatMap((name, index) => (name === "" ? index : [])),
  };
}

function requireOne(name: string, found: readonly string[]): void {
  const places = found.flatMap((other, index) => (other.toLowerCase() === name ? index + 1 : []));
  if (places.length > 1) {
    throw new Error(`the first line names ${name} more than once, in columns ${places.join(" and ")}`);
  }
}

/** Returns the probable reason why columns are missing, and what to do; an empty string if there is no guess. */
function hintAt(found: readonly string[], missing: readonly string[]): string {
  const line = found.join(",");
  if (line.startsWith("PK\u0003\u0004")) return "; this is a ZIP archive or a spreadsheet: save it as CSV";
  if (line.includes("\0")) return "; this is not UTF-8 (UTF-16 needs a byte order mark): save it as UTF-8";
  const separator = separators.find(({ sign }) => found.length === 1 && line.includes(sign));
  if (separator) return `; separate the fields by commas, not by ${separator.name}`;
  if (found.some((field) => uuid.test(field))) {
    return `; it looks like a row: put ${names.join(",")} above it`;
  }
  const similar = found.find((name) => missing.some((column) => letters(name) === letters(column)));
  if (similar !== undefined) {
    const column = missing.find((name) => letters(name) === letters(similar));
    return `; write ${column}, not ${printable(similar)}`;
  }
  return "";
}

const separators = [
  { sign: ";", name: "semicolons" },
  { sign: "\t", name: "tabs" },
  { sign: "|", name: "bars" },
];

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function letters(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z]/g, "");
}
