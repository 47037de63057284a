-- What was wrong, and what happened in the course of it.

CREATE TABLE incidents (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    policy         text        NOT NULL,
    key            text        NOT NULL,  -- the labels its alerts are equal in, as JSON
    state          jsonb       NOT NULL,  -- alerts that fire, titles, counts
    opened_ms      bigint      NOT NULL,
    acknowledged_ms bigint     NOT NULL,  -- 0: nobody has
    acknowledger   text        NOT NULL,
    resolved_ms    bigint      NOT NULL,  -- 0: it is open
    PRIMARY KEY (tenant, id)
);

CREATE INDEX incidents_by_opening ON incidents (tenant, opened_ms DESC, id);

CREATE INDEX incidents_open ON incidents (tenant) WHERE resolved_ms = 0;

CREATE TABLE incident_events (
    tenant         text        NOT NULL,
    incident       text        NOT NULL,
    seq            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at_ms          bigint      NOT NULL,
    event          jsonb       NOT NULL,
    request_id     text        NOT NULL DEFAULT '',  -- of the note; '' if it gave none
    PRIMARY KEY (tenant, incident, seq),
    FOREIGN KEY (tenant, incident) REFERENCES incidents (tenant, id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX incident_events_by_request ON incident_events (tenant, incident, request_id)
    WHERE request_id <> '';
