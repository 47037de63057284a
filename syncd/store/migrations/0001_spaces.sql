-- A space: unit of order (its row's lock orders all changes), permission and sharding.
-- Every other table begins its key with the space, so that they can be partitioned by it.
CREATE TABLE spaces (
    space_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    space_id text NOT NULL,
    display_name text NOT NULL,
    schema jsonb NOT NULL,
    access jsonb NOT NULL,
    head_seq bigint NOT NULL DEFAULT 0,
    state_hash bytea NOT NULL DEFAULT '\x00000000000000000000000000000000',
    records_next bigint NOT NULL DEFAULT 1,
    version bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, space_id)
) WITH (fillfactor = 70);

-- A record's number stands for its id in cells and frames. Removed ones stay, as tombstones.
CREATE TABLE records (
    space_key bigint NOT NULL,
    number bigint NOT NULL,
    record_id text NOT NULL,
    created_seq bigint NOT NULL,
    live boolean NOT NULL,
    removed_seq bigint,
    removed_hlc bigint,
    removed_by text,
    removed_number bigint,
    PRIMARY KEY (space_key, number),
    UNIQUE (space_key, record_id)
);
CREATE INDEX records_created ON records (space_key, created_seq);
CREATE INDEX records_removed ON records (space_key, removed_seq) WHERE removed_seq IS NOT NULL;

-- The cells as they are now; the index on seq is the feed of changes.
CREATE TABLE cells (
    space_key bigint NOT NULL,
    record bigint NOT NULL,
    field smallint NOT NULL,
    value bytea NOT NULL,
    seq bigint NOT NULL,
    hlc bigint NOT NULL,
    device text NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (space_key, record, field)
);
CREATE INDEX cells_feed ON cells (space_key, seq);

-- What lost against something concurrent.
CREATE TABLE journal (
    space_key bigint NOT NULL,
    entry bigint GENERATED ALWAYS AS IDENTITY,
    record_id text NOT NULL,
    field smallint NOT NULL,
    value bytea NOT NULL,
    device text NOT NULL,
    number bigint NOT NULL,
    hlc bigint NOT NULL,
    reason smallint NOT NULL,
    winner_seq bigint NOT NULL,
    decide_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space_key, entry)
);
CREATE INDEX journal_age ON journal (decide_time);

-- Results of mutations, so that repeating one gets the same answer and does nothing.
CREATE TABLE mutations (
    space_key bigint NOT NULL,
    device text NOT NULL,
    number bigint NOT NULL,
    digest bytea NOT NULL,
    status smallint NOT NULL,
    seq bigint NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    decide_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space_key, device, number)
);
CREATE INDEX mutations_age ON mutations (decide_time);

-- Up to which number a device has confirmed the results of its mutations.
CREATE TABLE confirmations (
    space_key bigint NOT NULL,
    device text NOT NULL,
    through bigint NOT NULL,
    PRIMARY KEY (space_key, device)
);

-- A device belongs to the first subject that used it.
CREATE TABLE devices (
    tenant text NOT NULL,
    device text NOT NULL,
    subject text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, device)
);

-- Answers to requests with a request_id.
CREATE TABLE requests (
    tenant text NOT NULL,
    request_id text NOT NULL,
    digest bytea NOT NULL,
    answer bytea NOT NULL,
    answer_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX requests_age ON requests (answer_time);
