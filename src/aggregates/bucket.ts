// A bucket is the quarter of an hour that a row of learning_log_aggregates adds up, named by its first instant. The offset
// of every time zone in use today is a multiple of it.

/** The length of a bucket in microseconds. */
export const bucketMicros = 900_000_000n;

/**
 * The bucket of an instant, in SQL.
 *
 * @param instant an SQL expression of type `timestamptz`
 */
export function bucketOf(instant: string): string {
  return `date_bin('15 minutes', ${instant}, 'epoch')`;
}

/**
 * How many buckets there are from 1970 to this one, in SQL.
 *
 * @param bucket an SQL expression of type `timestamptz`
 */
export function bucketNumberOf(bucket: string): string {
  return `(extract(epoch FROM ${bucket}) / 900)::bigint`;
}
