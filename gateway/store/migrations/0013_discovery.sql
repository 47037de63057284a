-- What sources found last, for the next start of a gateway.
CREATE TABLE found_endpoints (
    service     text PRIMARY KEY,
    -- How it was found: what was found another way says nothing.
    discovery   text NOT NULL,
    endpoints   jsonb NOT NULL,
    update_time timestamptz NOT NULL
);
