import type pg from "pg";

/**
 * Returns every table, column, constraint, index, view, sequence, function and trigger of the service as text, for a
 * person to review. Omits the table in which the migrations are recorded.
 */
export async function describeSchema(pool: pg.Pool): Promise<string> {
  const client = await pool.connect();
  try {
    // Constraints contain constants of type timestamptz, which are printed in the session's time zone.
    await client.query("SET TimeZone = 'UTC'");
    const { rows } = await client.query<{ line: string }>(schemaQuery);
    return rows.map(({ line }) => `${line}\n`).join("");
  } finally {
    client.release(true);
  }
}

const schemaQuery = `
  WITH relations AS (
    SELECT oid, relname, relkind
    FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace
      AND relkind IN ('r', 'p', 'v', 'm', 'S')
      AND relname <> ALL ('{schema_migrations,schema_migrations_id_seq}')
  ),
  lines AS (
    SELECT
      relname,
      0 AS part,
      0 AS place,
      CASE relkind
        WHEN 'r' THEN 'table '
        WHEN 'p' THEN 'partitioned table '
        WHEN 'v' THEN 'view '
        WHEN 'm' THEN 'materialized view '
        WHEN 'S' THEN 'sequence '
      END || relname AS line
    FROM relations
    UNION ALL
    SELECT
      relname,
      1,
      attnum,
      concat_ws(
        ' ',
        ' ',
        attname,
        format_type(atttypid, atttypmod),
        'COLLATE ' || quote_ident(collname),
        CASE WHEN attnotnull THEN 'NOT NULL' END,
        'DEFAULT ' || pg_get_expr(adbin, adrelid)
      )
    FROM relations
    JOIN pg_attribute ON attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation AND collname <> 'default'
    UNION ALL
    SELECT relname, 2, row_number() OVER (ORDER BY conname COLLATE "C"), '  ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
    FROM relations
    JOIN pg_constraint ON conrelid = relations.oid AND contype <> 'n'
    UNION ALL
    SELECT relname, 3, row_number() OVER (ORDER BY indexrelid::regclass::text COLLATE "C"), '  ' || pg_get_indexdef(indexrelid)
    FROM relations
    JOIN pg_index ON indrelid = relations.oid
    UNION ALL
    SELECT relname, 4, row_number() OVER (ORDER BY tgname COLLATE "C"), '  ' || pg_get_triggerdef(pg_trigger.oid)
    FROM relations
    JOIN pg_trigger ON tgrelid = relations.oid AND NOT tgisinternal
    UNION ALL
    SELECT proname, 5, 0, pg_get_functiondef(oid)
    FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND prokind IN ('f', 'p')
  )
  SELECT line
  FROM lines
  ORDER BY part = 5, relname COLLATE "C", part, place`;
