-- What Azure's management and WCF Relay know of namespaces and relays. `tags` and `ip_rules` hold JSON.

ALTER TABLE namespaces ADD COLUMN updated_at REAL NOT NULL DEFAULT 0;
ALTER TABLE namespaces ADD COLUMN subscription TEXT NOT NULL DEFAULT '';
ALTER TABLE namespaces ADD COLUMN resource_group TEXT NOT NULL DEFAULT '';
ALTER TABLE namespaces ADD COLUMN location TEXT NOT NULL DEFAULT 'local';
ALTER TABLE namespaces ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
ALTER TABLE namespaces ADD COLUMN default_action TEXT NOT NULL DEFAULT 'Allow';
ALTER TABLE namespaces ADD COLUMN public_network_access TEXT NOT NULL DEFAULT 'Enabled';
ALTER TABLE namespaces ADD COLUMN trusted_service_access INTEGER NOT NULL DEFAULT 0;
ALTER TABLE namespaces ADD COLUMN ip_rules TEXT NOT NULL DEFAULT '[]';
UPDATE namespaces SET updated_at = created_at;

-- The address that an alias leads to; '' is the namespace's root.
ALTER TABLE aliases ADD COLUMN address TEXT NOT NULL DEFAULT '';

-- NULL: as the settings say.
ALTER TABLE relays ADD COLUMN requires_transport_security INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relays ADD COLUMN accept_seconds REAL;
ALTER TABLE relays ADD COLUMN response_seconds REAL;
ALTER TABLE relays ADD COLUMN idle_seconds REAL;
ALTER TABLE relays ADD COLUMN max_listeners INTEGER;
ALTER TABLE relays ADD COLUMN keeps_path INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relays ADD COLUMN is_public INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relays ADD COLUMN display_name TEXT NOT NULL DEFAULT '';

-- Whether who listens by the rule may bring dynamic relays into being where not everybody may.
ALTER TABLE rules ADD COLUMN creates_relays INTEGER NOT NULL DEFAULT 0;

-- Tokens that are good no more: by `jti`, `sub`, `rule`, `token` (its SHA-256) or `all`. '' is any issuer.
CREATE TABLE revocations (
    namespace   TEXT NOT NULL REFERENCES namespaces (name) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    value       TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    before      REAL NOT NULL,
    until       REAL,
    reason      TEXT NOT NULL,
    created_at  REAL NOT NULL,
    PRIMARY KEY (namespace, kind, value, issuer)
) STRICT;
