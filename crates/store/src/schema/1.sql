-- The append-only record. `body` is the event as JSON; the other columns repeat what is searched.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,      -- the order of the commits
    id       TEXT    NOT NULL UNIQUE,
    at_ns    INTEGER NOT NULL,
    run      TEXT,                     -- the run that it speaks of
    body     TEXT    NOT NULL
) STRICT;
CREATE INDEX events_by_run ON events (run, sequence);

-- One row per run that was started.
CREATE TABLE runs (
    id          TEXT    PRIMARY KEY,
    sequence    INTEGER NOT NULL UNIQUE REFERENCES events, -- the event that it was started by
    over        INTEGER REFERENCES events,                 -- the event that it ended or failed by
    writer      TEXT    NOT NULL,                          -- who runs it
    computation TEXT    NOT NULL,
    replicas    INTEGER NOT NULL,
    started_ns  INTEGER NOT NULL,
    ended_ns    INTEGER,
    verdict     TEXT,                                      -- of a run that ended
    reason      TEXT                                       -- of a run that ended or failed
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_not_over ON runs (sequence) WHERE over IS NULL;

-- One row per finding.
CREATE TABLE findings (
    id       TEXT    PRIMARY KEY,
    sequence INTEGER NOT NULL UNIQUE REFERENCES events,
    run      TEXT    REFERENCES runs,
    at_ns    INTEGER NOT NULL,
    severity INTEGER NOT NULL          -- 0 info to 4 critical
) STRICT, WITHOUT ROWID;
CREATE INDEX findings_by_run ON findings (run);

-- Blobs that no event names yet. The row is made before the file.
CREATE TABLE pending (
    key             TEXT    PRIMARY KEY,
    writer          TEXT    NOT NULL,
    bytes           INTEGER NOT NULL DEFAULT 0,
    allocated_bytes INTEGER NOT NULL DEFAULT 0,
    digest          TEXT               -- present once the content is durable at its key
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_by_writer ON pending (writer);

-- Blobs that an event names.
CREATE TABLE blobs (
    key             TEXT    PRIMARY KEY,
    run             TEXT    REFERENCES runs,
    sequence        INTEGER NOT NULL REFERENCES events,    -- the first event that names it
    bytes           INTEGER NOT NULL,
    allocated_bytes INTEGER NOT NULL,
    digest          TEXT    NOT NULL,
    state           TEXT    NOT NULL DEFAULT 'kept' CHECK (state IN ('kept', 'pruned', 'removed'))
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_on_disk ON blobs (state, sequence) WHERE state <> 'removed';
