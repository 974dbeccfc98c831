import pg from "pg";

// What each SQLSTATE means to this service. The codes: https://www.postgresql.org/docs/current/errcodes-appendix.html

/**
 * What a database error means to the caller.
 *
 * - `unavailable`: the database cannot be used at the moment.
 * - `busy`: the database is overloaded.
 * - `locked`: the statement waited too long for the lock of another transaction.
 * - `contention`: the statement conflicted with another one, and was rolled back. It can be retried.
 * - `row`: a single row may have caused the error. The same statement may succeed without that row.
 *
 * Errors of all meanings except `row` are transient. An error that is not in the table is a fault of this program, of
 * the schema, or of the database.
 */
export type Meaning = "unavailable" | "busy" | "locked" | "contention" | "row";

interface Condition {
  readonly meaning: Meaning;
  /** Logged instead of PostgreSQL's message, which may contain hosts, users, or values of a row. */
  readonly reason: string;
}

/** The first entry whose code is a prefix of the SQLSTATE applies. */
const conditions: readonly (readonly [code: string, meaning: Meaning, reason: string])[] = [
  ["08", "unavailable", "the connection failed"],
  ["22", "row", "a value is not valid"],
  ["23", "row", "a constraint is violated"],
  ["25006", "unavailable", "the database is read-only: it may have become a standby"],
  ["25P03", "unavailable", "a transaction was idle for too long: this process was stalled"],
  ["25P04", "busy", "a transaction took too long"],
  ["28", "unavailable", "the database refuses the user or the password"],
  ["3D000", "unavailable", "the database of this name does not exist"],
  ["40001", "contention", "a serialization failure"],
  ["40P01", "contention", "a deadlock"],
  ["40", "unavailable", "the outcome of a transaction is not known"],
  ["44", "row", "a row violates the condition of a view"],
  ["53", "busy", "the database lacks memory, disk space or connections"],
  ["54", "row", "a value is too large or too complex"],
  ["55P03", "locked", "another transaction holds a lock"],
  ["55", "unavailable", "the database does not accept connections"],
  ["57014", "busy", "a statement took too long"],
  ["57", "unavailable", "the database is starting, stopping, or closed the connection"],
  ["P0", "row", "a function or a trigger refuses a value"],
  // A corrupted page affects only statements that need its rows.
  ["XX001", "row", "data is corrupted"],
  ["XX002", "row", "an index is corrupted"],
];

/** The condition of a database error; undefined if the error is neither transient nor caused by a row. */
export function conditionOf(error: unknown): Condition | undefined {
  const cause = databaseErrorOf(error);
  if (cause === undefined) return undefined;
  if (isNotificationQueueFull(cause)) {
    return {
      meaning: "busy",
      reason: "the notification queue is full: a listening session does not read its notifications",
    };
  }
  const found = conditions.find(([code]) => cause.code?.startsWith(code));
  return found && { meaning: found[1], reason: found[2] };
}

/** Whether the statement conflicted with another one (a deadlock or serialization failure). It was rolled back. */
export function isContention(error: unknown): boolean {
  return conditionOf(error)?.meaning === "contention";
}

/** Whether the statement waited too long for a lock. It was rolled back. */
export function isLocked(error: unknown): boolean {
  return conditionOf(error)?.meaning === "locked";
}

/** Whether a single row may have caused the error, so that the other rows may succeed without it. */
export function isRowError(error: unknown): boolean {
  return conditionOf(error)?.meaning === "row";
}

/** Whether the notification queue is full. PostgreSQL uses the same SQLSTATE (54000) for values that are too large. */
export function isNotificationQueueFull(error: unknown): boolean {
  const cause = databaseErrorOf(error);
  return cause?.code === programLimitExceeded && cause.file === "async.c";
}

/** Whether a function rejected the value of a parameter, such as the name of a time zone. */
export function isInvalidParameterValue(error: unknown): boolean {
  return databaseErrorOf(error)?.code === invalidParameterValue;
}

/** The error itself or its cause, if that is a database error. */
function databaseErrorOf(error: unknown): pg.DatabaseError | undefined {
  if (error instanceof pg.DatabaseError) return error;
  return error instanceof Error && error.cause instanceof pg.DatabaseError ? error.cause : undefined;
}

const invalidParameterValue = "22023";
const programLimitExceeded = "54000";
