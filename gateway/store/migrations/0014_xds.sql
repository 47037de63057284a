-- What discovery clients have refused, and what is served in its place; a row is of one content.
CREATE TABLE xds_verdicts (
    flavour        text NOT NULL,
    type           text NOT NULL,
    name           text NOT NULL,
    version        text NOT NULL,
    error          text NOT NULL,
    node_id        text NOT NULL,
    -- Somebody has accepted it since.
    lifted         boolean NOT NULL DEFAULT false,
    create_time    timestamptz NOT NULL,
    -- The last content that was accepted; NULL: none is known.
    served_version text,
    served         bytea,
    PRIMARY KEY (flavour, type, name)
);

-- What nodes may hold without knowing it, by the type's key: {"CDS": ["services/a"]}.
CREATE TABLE xds_doubts (
    node_id     text PRIMARY KEY,
    names       jsonb NOT NULL,
    update_time timestamptz NOT NULL
);

-- Counts the changes of both, so that a replica sees at a glance whether there is anything new.
CREATE TABLE xds_state (
    id      boolean PRIMARY KEY DEFAULT true CHECK (id),
    version bigint NOT NULL
);
INSERT INTO xds_state (version) VALUES (0);
