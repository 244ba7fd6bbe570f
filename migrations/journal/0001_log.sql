-- The events of durable relays, each in its place: stream << 40 | offset, so that a stream's lie beside each other.

CREATE TABLE streams (
    number     INTEGER PRIMARY KEY,
    namespace  TEXT    NOT NULL,
    relay      TEXT    NOT NULL,  -- in lower-case ASCII
    epoch      TEXT    NOT NULL,
    floor      INTEGER NOT NULL,  -- the last offset that is gone
    cut_at     REAL,              -- when that one was received
    UNIQUE (namespace, relay)
) STRICT;

-- `attributes` holds JSON.
CREATE TABLE events (
    place         INTEGER PRIMARY KEY,
    address       TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    is_text       INTEGER NOT NULL,
    content_type  TEXT,
    type          TEXT,
    source        TEXT,
    time          TEXT,
    received_at   REAL    NOT NULL,
    attributes    TEXT,
    expires_at    REAL
) STRICT;
