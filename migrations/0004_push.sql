-- Push subscriptions: each is a durable subscription of `relay` (the journal has it) with a sink. `settings` holds JSON.

CREATE TABLE pushes (
    namespace  TEXT NOT NULL REFERENCES namespaces (name) ON DELETE CASCADE,
    id         TEXT NOT NULL,
    settings   TEXT NOT NULL,
    PRIMARY KEY (namespace, id)
) STRICT;
