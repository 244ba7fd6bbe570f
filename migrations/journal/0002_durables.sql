-- Durable subscriptions. `settings` holds JSON: what it subscribes to, how, and whose it is. All events up to `position`
-- of `epoch` are settled but those in `pending`: JSON, [[offset, attempts], …].

CREATE TABLE durables (
    namespace  TEXT    NOT NULL,
    relay      TEXT    NOT NULL,  -- in lower-case ASCII
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    epoch      TEXT    NOT NULL,
    position   INTEGER NOT NULL,
    pending    TEXT    NOT NULL,
    PRIMARY KEY (namespace, relay, name)
) STRICT;
