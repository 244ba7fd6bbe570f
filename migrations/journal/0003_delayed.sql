-- Events that wait for their time. `number` counts them in the order in which they were accepted.
-- `made_at` and `due` are Unix seconds; the event's own times are whole microseconds, as in `events`.

CREATE TABLE delayed (
    number        INTEGER PRIMARY KEY,
    namespace     TEXT    NOT NULL,
    relay         TEXT    NOT NULL,  -- in lower-case ASCII
    made_at       REAL    NOT NULL,  -- when that relay was made; 0: it came into being by use
    due           REAL    NOT NULL,
    is_retained   INTEGER NOT NULL,
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

CREATE INDEX delayed_due ON delayed (due, number);
CREATE INDEX delayed_relay ON delayed (namespace, relay, due, number);
