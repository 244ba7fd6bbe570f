-- The events of durable relays, each in its place: stream << 36 | offset, so that a stream's lie beside each other.
-- Times are whole microseconds since 1970.

CREATE TABLE streams (
    number     INTEGER PRIMARY KEY,
    namespace  TEXT    NOT NULL,
    relay      TEXT,              -- in lower-case ASCII; NULL: the stream is being deleted
    made_at    INTEGER NOT NULL,  -- when the relay was provisioned; 0: it came into being by use
    epoch      TEXT    NOT NULL,
    floor      INTEGER NOT NULL,  -- the last offset that is gone
    cut_at     INTEGER            -- when that one was received
) STRICT;

CREATE TABLE events (
    place         INTEGER PRIMARY KEY,
    size_before   INTEGER NOT NULL,  -- bytes of all payloads before it in its stream, also of those that are gone
    address       TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    is_text       INTEGER NOT NULL,
    content_type  TEXT,
    type          TEXT,
    source        TEXT,
    time          TEXT,
    received_at   INTEGER NOT NULL,
    attributes    TEXT,              -- JSON
    expires_at    INTEGER
) STRICT;

-- The last event of each address, of relays that keep those, however little their streams keep.
CREATE TABLE retained (
    stream        INTEGER NOT NULL,
    offset        INTEGER NOT NULL,
    address       TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    is_text       INTEGER NOT NULL,
    content_type  TEXT,
    type          TEXT,
    source        TEXT,
    time          TEXT,
    received_at   INTEGER NOT NULL,
    attributes    TEXT,
    expires_at    INTEGER,
    PRIMARY KEY (stream, address)
) STRICT;
