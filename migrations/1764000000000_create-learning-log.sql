-- Up Migration

-- Every entry, once. On Citus it is distributed by request_id, so that its primary key stays global.
-- Identifiers compare byte by byte: equal on every server, and faster than a locale's rules.
CREATE TABLE learning_log (
  request_id uuid PRIMARY KEY,
  user_id text COLLATE "C" NOT NULL CHECK (char_length(user_id) BETWEEN 1 AND 128),
  word_count integer NOT NULL CHECK (word_count >= 0),
  timestamp timestamptz NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now()
);

-- One learner's entries in the order of time: for listing them, and for summaries where a quarter of an hour
-- holds the end of one period and the start of the next. request_id makes the order total.
CREATE INDEX learning_log_user_id_timestamp_request_id ON learning_log (user_id, timestamp, request_id);

-- The log added up per learner and quarter of an hour. Today's time zones are all a multiple of a quarter of an
-- hour away from UTC, so these buckets serve each of them. A summary reads a range of the primary key.
-- Invariant, at every commit: each row equals the sum and the count over the log, and there is none whose count is 0.
-- On Citus it is distributed by user_id, so that a summary asks one shard.
CREATE TABLE learning_log_aggregates (
  user_id text COLLATE "C" NOT NULL,
  bucket timestamptz NOT NULL CHECK (bucket = date_bin('15 minutes', bucket, 'epoch')),
  total_word_count bigint NOT NULL CHECK (total_word_count >= 0),
  entry_count bigint NOT NULL CHECK (entry_count >= 0),
  PRIMARY KEY (user_id, bucket)
);

-- Down Migration

DROP TABLE learning_log_aggregates;
DROP TABLE learning_log;
