-- What is provisioned. `folded` columns hold the name in lower-case ASCII: names are unique without case.

CREATE TABLE namespaces (
    name        TEXT PRIMARY KEY,
    created_at  REAL NOT NULL
) STRICT;

CREATE TABLE aliases (
    host       TEXT PRIMARY KEY,
    namespace  TEXT NOT NULL REFERENCES namespaces (name) ON DELETE CASCADE
) STRICT;

CREATE TABLE relays (
    namespace                      TEXT    NOT NULL REFERENCES namespaces (name) ON DELETE CASCADE,
    folded                         TEXT    NOT NULL,
    name                           TEXT    NOT NULL,
    profile                        TEXT    NOT NULL,
    requires_client_authorization  INTEGER NOT NULL,
    history_keep                   TEXT    NOT NULL,
    history_events                 INTEGER NOT NULL,
    history_seconds                REAL    NOT NULL,
    history_bytes                  INTEGER NOT NULL,
    slow                           TEXT    NOT NULL,
    budget                         INTEGER NOT NULL,
    user_metadata                  TEXT    NOT NULL,
    created_at                     REAL    NOT NULL,
    updated_at                     REAL    NOT NULL,
    PRIMARY KEY (namespace, folded)
) STRICT;

-- Rules of the namespace have an empty `relay`; the others the folded name of theirs.
CREATE TABLE rules (
    namespace      TEXT    NOT NULL REFERENCES namespaces (name) ON DELETE CASCADE,
    relay          TEXT    NOT NULL,
    folded         TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    rights         INTEGER NOT NULL,
    primary_key    TEXT    NOT NULL,
    secondary_key  TEXT    NOT NULL,
    PRIMARY KEY (namespace, relay, folded)
) STRICT;
