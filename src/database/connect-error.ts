import pg from "pg";

/** Describes why a connection to the database failed: one line for an operator, without secrets. */
export function describeConnectError(error: unknown): string {
  // If several addresses were tried, the error of the last one.
  const last = error instanceof AggregateError ? error.errors.at(-1) : error;
  if (!(last instanceof Error)) return String(last);
  if (needsPassword(last)) {
    return "the database needs a password: put it into DATABASE_URL or PGPASSWORD";
  }
  return last.message.split("\n")[0] ?? last.message;
}

/** Whether the server asked for a password that node-postgres did not have, or rejected an empty password. */
function needsPassword(error: Error): boolean {
  return (
    /client password must be a (non-empty )?string/.test(error.message) ||
    (error instanceof pg.DatabaseError && /empty password/.test(error.message))
  );
}
