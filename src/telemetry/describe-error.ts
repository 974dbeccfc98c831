import pg from "pg";

/** SQLSTATE classes whose messages can contain values: data exceptions (22), and errors raised by triggers (P0). */
const classesWithValues: ReadonlySet<string> = new Set(["22", "P0"]);

/**
 * Describes an error for the log. For an error of the database, omits everything that can contain a user_id, another
 * value, or SQL: `detail`, `where`, `hint`, the queries, and messages that can contain values.
 */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const type = error.constructor.name;
  const frames = error.stack?.split("\n").filter((line) => line.startsWith("    at "));
  if (error instanceof pg.DatabaseError) {
    const { code = "", severity, schema, table, column, constraint, routine } = error;
    const message = classesWithValues.has(code.slice(0, 2))
      ? "(left out: it may repeat values)"
      : error.message;
    return {
      type,
      message,
      code,
      severity,
      schema,
      table,
      column,
      constraint,
      routine,
      stack: frames?.join("\n"),
    };
  }
  return {
    type,
    message: error.message,
    ...("code" in error && { code: error.code }),
    stack: frames?.join("\n"),
    ...(error.cause !== undefined && { cause: describeError(error.cause) }),
    ...(error instanceof AggregateError && { errors: error.errors.map(describeError) }),
  };
}
