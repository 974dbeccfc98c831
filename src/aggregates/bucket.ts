// A bucket is a quarter of an hour, identified by its first instant. A row of learning_log_aggregates adds up one
// learner's entries in one bucket. The UTC offset of every time zone in use today is a multiple of a bucket's length.

/** The length of a bucket in seconds. */
export const bucketSeconds = 900;

/** The length of a bucket in microseconds. */
export const bucketMicros = 900_000_000n;

/**
 * Returns an SQL expression for the bucket that contains an instant.
 *
 * @param instant an SQL expression of type `timestamptz`
 */
export function bucketOf(instant: string): string {
  return `date_bin('15 minutes', ${instant}, 'epoch')`;
}

/**
 * Returns an SQL expression for the number of buckets from 1970 to this one.
 *
 * @param bucket an SQL expression of type `timestamptz`
 */
export function bucketNumberOf(bucket: string): string {
  return `(extract(epoch FROM ${bucket}) / 900)::bigint`;
}
