-- Wall times are Unix milliseconds of the server's clock, for people. What the
-- server decides by is in the blobs (proto/steadyrun/v1/storage.proto); the
-- columns beside them are for queries.

-- One row: which deployment this is.
CREATE TABLE deployment (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  cluster_id TEXT NOT NULL,
  server_epoch INTEGER NOT NULL,
  created_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE server_starts (
  server_epoch INTEGER PRIMARY KEY,
  server_id TEXT NOT NULL,
  started_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
  run TEXT NOT NULL UNIQUE,
  phase TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  -- Older attempts are of an earlier run of this name.
  first_attempt INTEGER NOT NULL,
  max_step INTEGER NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL,
  state BLOB NOT NULL
) STRICT;
CREATE INDEX runs_by_age ON runs (created_unix_ms);

CREATE TABLE incidents (
  run TEXT NOT NULL,
  number INTEGER NOT NULL,
  kind TEXT NOT NULL,
  severity TEXT NOT NULL,
  state TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  node TEXT NOT NULL,
  rank INTEGER NOT NULL,
  onset_unix_ms INTEGER NOT NULL,
  detected_unix_ms INTEGER NOT NULL,
  recovered_unix_ms INTEGER NOT NULL,
  remediation TEXT NOT NULL,
  incident BLOB NOT NULL,
  UNIQUE (run, number)
) STRICT;
CREATE INDEX incidents_by_age ON incidents (detected_unix_ms);
CREATE INDEX incidents_open ON incidents (detected_unix_ms)
  WHERE state = 'open';

CREATE TABLE checkpoints (
  run TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  step INTEGER NOT NULL,
  state TEXT NOT NULL,
  saved_unix_ms INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  checkpoint BLOB NOT NULL,
  UNIQUE (run, step, attempt)
) STRICT;

CREATE TABLE nodes (
  node TEXT NOT NULL UNIQUE,
  is_quarantined INTEGER NOT NULL,
  record BLOB NOT NULL
) STRICT;

-- How far a node's reports are applied: the key of deduplication.
CREATE TABLE node_cursors (
  node TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  acked INTEGER NOT NULL,
  updated_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (node, boot_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE decisions (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  incident INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  action TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_run ON decisions (run, id);

-- request_ids of operators that were carried out, with the reply given.
CREATE TABLE requests (
  request_id TEXT NOT NULL UNIQUE,
  at_unix_ms INTEGER NOT NULL,
  reply TEXT NOT NULL
) STRICT;
CREATE INDEX requests_by_age ON requests (at_unix_ms);

CREATE TABLE rank_failures (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  node TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  exit BLOB NOT NULL,
  UNIQUE (run, attempt, rank)
) STRICT;
CREATE INDEX rank_failures_by_run ON rank_failures (run, id);

-- Append-only. hash = SHA-256 over prev_hash and all other columns.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  server_epoch INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  run TEXT NOT NULL,
  reason TEXT NOT NULL,
  outcome TEXT NOT NULL,
  request_id TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_run ON audit (run, seq);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit table is append-only');
END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit table is append-only');
END;

-- Small numbers for the keys of the step tables. A step's key is
--   attempts.id << 40 | step:
-- all steps of an attempt are neighbours, in order.
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY CHECK (id < 1 << 22),
  run TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  -- All 16-step (256-step) buckets of steps below this are rolled up.
  rolled_16 INTEGER NOT NULL DEFAULT 0,
  rolled_256 INTEGER NOT NULL DEFAULT 0,
  -- Rows of all ranks of steps below this were dropped by retention.
  rows_from INTEGER NOT NULL DEFAULT 0,
  UNIQUE (run, attempt)
) STRICT;

-- What curves are drawn from. Not finite: NULL for NaN, or an infinity.
CREATE TABLE step_summaries (
  key INTEGER PRIMARY KEY,
  ended_unix_ms INTEGER NOT NULL,
  is_complete INTEGER NOT NULL,
  loss REAL,
  grad_norm REAL,
  step_seconds REAL,
  step_seconds_max REAL,
  tokens REAL,
  slowest_rank INTEGER NOT NULL
) STRICT;

-- All ranks of a step, packed as columns (step_codec.h).
CREATE TABLE step_rows (
  key INTEGER PRIMARY KEY,
  ranks BLOB NOT NULL
) STRICT;

-- Names of named metrics, stored once.
CREATE TABLE metric_names (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- Summaries of 16 (level 16) and 256 neighbouring steps of one attempt;
-- key = attempts.id << 40 | step / level.
CREATE TABLE step_buckets_16 (
  key INTEGER PRIMARY KEY,
  steps INTEGER NOT NULL,
  nonfinite INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL,
  loss REAL,
  loss_min REAL,
  loss_max REAL,
  grad_norm REAL,
  step_seconds REAL,
  step_seconds_max REAL,
  tokens REAL,
  slowest_rank INTEGER NOT NULL
) STRICT;
CREATE TABLE step_buckets_256 (
  key INTEGER PRIMARY KEY,
  steps INTEGER NOT NULL,
  nonfinite INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL,
  loss REAL,
  loss_min REAL,
  loss_max REAL,
  grad_norm REAL,
  step_seconds REAL,
  step_seconds_max REAL,
  tokens REAL,
  slowest_rank INTEGER NOT NULL
) STRICT;

-- 16-step buckets that a late row changed after they had been rolled up.
CREATE TABLE stale_buckets (
  key INTEGER PRIMARY KEY  -- As in step_buckets_16.
) STRICT;
