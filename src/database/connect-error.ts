import pg from "pg";

/** Why there is no connection to the database: one line for an operator, without a secret. */
export function describeConnectError(error: unknown): string {
  // Of several addresses that were tried, the last one's error.
  const last = error instanceof AggregateError ? error.errors.at(-1) : error;
  if (!(last instanceof Error)) return String(last);
  if (wantsPassword(last)) {
    return "the database wants a password: put it into DATABASE_URL or PGPASSWORD";
  }
  return last.message.split("\n")[0] ?? last.message;
}

/** node-postgres finds out that it has no password when the server asks for one. */
function wantsPassword(error: Error): boolean {
  return (
    /client password must be a (non-empty )?string/.test(error.message) ||
    (error instanceof pg.DatabaseError && /empty password/.test(error.message))
  );
}
