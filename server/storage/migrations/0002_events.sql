-- What happened, in order, written in the transaction of the change itself:
-- the outbox of notifications and what WatchEvents and /api/v1/journal read.
-- AUTOINCREMENT: a number is never given out twice, so that a reader who was
-- away knows what it has seen.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_unix_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,      -- incident, decision, page, mute
  run TEXT NOT NULL,
  incident INTEGER NOT NULL,  -- Its number; 0: none.
  state TEXT NOT NULL,     -- Of the incident, or the action decided on.
  severity TEXT NOT NULL,  -- Of the incident; else empty.
  text TEXT NOT NULL
) STRICT;
CREATE INDEX events_pages ON events (seq) WHERE kind = 'page';

-- Runs about which nobody is told for a while.
CREATE TABLE mutes (
  run TEXT NOT NULL UNIQUE,
  until_unix_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;

-- Sinks of notifications that were seen before: what ended earlier than
-- `since` is old news to them, and so are pages up to `page_seq`.
CREATE TABLE notice_sinks (
  sink TEXT NOT NULL UNIQUE,
  since_unix_ms INTEGER NOT NULL,
  page_seq INTEGER NOT NULL
) STRICT;

-- What each sink was last told of an incident, written after its delivery.
CREATE TABLE notified (
  sink TEXT NOT NULL,
  run TEXT NOT NULL,
  incident INTEGER NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  severity TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (sink, run, incident)
) STRICT, WITHOUT ROWID;
CREATE INDEX notified_by_age ON notified (at_unix_ms);

-- Alerts of the site (fabric, storage, power) that Alertmanager has posted:
-- evidence for incidents, never a reason to act. The newest state of each.
CREATE TABLE site_alerts (
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  severity TEXT NOT NULL,
  run TEXT NOT NULL,   -- Empty: of no run in particular.
  node TEXT NOT NULL,  -- Empty: of no node in particular.
  starts_unix_ms INTEGER NOT NULL,
  ends_unix_ms INTEGER NOT NULL,  -- 0: still firing.
  text TEXT NOT NULL
) STRICT;
CREATE INDEX site_alerts_by_node ON site_alerts (node, starts_unix_ms);
CREATE INDEX site_alerts_by_run ON site_alerts (run, starts_unix_ms);
