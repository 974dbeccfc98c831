import pg from "pg";

/** A connection to a database. Disposing of it closes it, which rolls back an open transaction. */
export type Connection = pg.Client & AsyncDisposable;

export async function connect(url: string, config: pg.ClientConfig = {}): Promise<Connection> {
  const client = new pg.Client({ ...config, connectionString: url });
  // If the connection breaks, only the next statement over it fails.
  client.on("error", () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/** Connects, and closes the connection when `body` has ended. @returns what `body` returns */
export async function withConnection<Result>(
  url: string,
  body: (connection: Connection) => Promise<Result>,
): Promise<Result> {
  await using connection = await connect(url);
  return await body(connection);
}

/** Runs SQL over a separate connection. @returns the rows, if it is a single statement */
export async function execute<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values?: unknown[],
): Promise<Row[]> {
  await using connection = await connect(url);
  const { rows } = await connection.query<Row>(sql, values);
  return rows;
}
