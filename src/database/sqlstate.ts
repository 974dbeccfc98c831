import pg from "pg";

// Which SQLSTATE means what: https://www.postgresql.org/docs/current/errcodes-appendix.html

/**
 * What an error of the database means to whoever asked.
 *
 * - `away`: nobody can use the database just now.
 * - `busy`: the database is there, and has too much to do.
 * - `locked`: the statement waited too long for the lock of another transaction.
 * - `contention`: the statement lost a race against another one, and nothing of it stands: it can be run again.
 * - `row`: one row may be to blame; the same statement may succeed without it.
 *
 * All but `row` pass by themselves. An error that is not in the table is a fault of this program, of the schema, or of
 * the database.
 */
export type Meaning = "away" | "busy" | "locked" | "contention" | "row";

interface Condition {
  readonly meaning: Meaning;
  /** For the log; the message of PostgreSQL may name hosts, users, or values of a row. */
  readonly reason: string;
}

/** The first entry counts whose key begins the SQLSTATE. */
const conditions: readonly (readonly [code: string, meaning: Meaning, reason: string])[] = [
  ["08", "away", "the connection failed"],
  ["22", "row", "a value is not valid"],
  ["23", "row", "a constraint is violated"],
  ["25006", "away", "the database is read-only: it may have become a standby"],
  ["25P03", "away", "a transaction was idle for too long: this process stood still"],
  ["25P04", "busy", "a transaction took too long"],
  ["28", "away", "the database refuses the user or the password"],
  ["3D000", "away", "the database of this name does not exist"],
  ["40001", "contention", "a serialization failure"],
  ["40P01", "contention", "a deadlock"],
  ["40", "away", "the outcome of a transaction is not known"],
  ["44", "row", "a row violates the condition of a view"],
  ["53", "busy", "the database lacks memory, disk space or connections"],
  ["54", "row", "a value is too large or too complex"],
  ["55P03", "locked", "another transaction holds a lock"],
  ["55", "away", "the database does not accept connections"],
  ["57014", "busy", "a statement took too long"],
  ["57", "away", "the database is starting, stopping, or closed the connection"],
  ["P0", "row", "a function or a trigger refuses a value"],
  // A page that cannot be read concerns the rows that belong there.
  ["XX001", "row", "data are corrupted"],
  ["XX002", "row", "an index is corrupted"],
];

/** The condition that an error of the database stands for; undefined if it passes neither by itself nor without a row. */
export function conditionOf(error: unknown): Condition | undefined {
  const cause = databaseErrorOf(error);
  if (cause === undefined) return undefined;
  if (isNotificationQueueFull(cause)) {
    return {
      meaning: "busy",
      reason: "the queue of notifications is full: some session listens and never reads",
    };
  }
  const found = conditions.find(([code]) => cause.code?.startsWith(code));
  return found && { meaning: found[1], reason: found[2] };
}

/** The statement lost a race against another one, and nothing of it stands: it can be run again. */
export function isContention(error: unknown): boolean {
  return conditionOf(error)?.meaning === "contention";
}

/** The statement waited too long for a lock, and nothing of it stands. */
export function isLocked(error: unknown): boolean {
  return conditionOf(error)?.meaning === "locked";
}

/** One row may be to blame; the others may pass without it. */
export function isOfOneRow(error: unknown): boolean {
  return conditionOf(error)?.meaning === "row";
}

/** Too many notifications wait to be delivered. The SQLSTATE alone is that of a value that is too large. */
export function isNotificationQueueFull(error: unknown): boolean {
  const cause = databaseErrorOf(error);
  return cause?.code === programLimitExceeded && cause.file === "async.c";
}

/** A value is not one that the function takes. */
export function isInvalidParameterValue(error: unknown): boolean {
  return databaseErrorOf(error)?.code === invalidParameterValue;
}

/** What the database said, itself or as the cause of what callers get. */
function databaseErrorOf(error: unknown): pg.DatabaseError | undefined {
  if (error instanceof pg.DatabaseError) return error;
  return error instanceof Error && error.cause instanceof pg.DatabaseError ? error.cause : undefined;
}

const invalidParameterValue = "22023";
const programLimitExceeded = "54000";
