-- What a relay keeps of its events and asks of them. NULL: as the settings say; '' is no schema.

ALTER TABLE relays ADD COLUMN retain TEXT NOT NULL DEFAULT 'none';
ALTER TABLE relays ADD COLUMN max_event_bytes INTEGER;
ALTER TABLE relays ADD COLUMN dedup_seconds REAL NOT NULL DEFAULT 120;
ALTER TABLE relays ADD COLUMN event_schema TEXT NOT NULL DEFAULT '';
