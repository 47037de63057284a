-- Ids that lists and cursors go by are compared byte by byte (COLLATE "C"), as Python does.
-- States, lanes, categories, reasons and kinds are the numbers of the contract.

CREATE TABLE recipients (
    tenant text NOT NULL,
    id text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    addresses jsonb NOT NULL,
    channels text[] NOT NULL,
    preferences jsonb NOT NULL,
    locale text NOT NULL,
    time_zone text NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE subscriptions (
    tenant text NOT NULL,
    topic text NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, topic, recipient),
    FOREIGN KEY (tenant, recipient) REFERENCES recipients ON DELETE CASCADE
);
CREATE INDEX subscriptions_of_recipient ON subscriptions (tenant, recipient);

CREATE TABLE templates (
    tenant text NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    etag text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE template_versions (
    tenant text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL,
    display_name text NOT NULL,
    default_locale text NOT NULL,
    contents jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, id, version)
);

CREATE TABLE notifications (
    tenant text NOT NULL,
    id uuid NOT NULL,
    state smallint NOT NULL,
    lane smallint NOT NULL,
    category smallint NOT NULL,
    recipients text[] NOT NULL,
    topics text[] NOT NULL,
    template text NOT NULL,
    template_version bigint NOT NULL,
    variables jsonb NOT NULL,
    channels text[] NOT NULL,
    deliver_by timestamptz NOT NULL,
    useless_after timestamptz NOT NULL,
    subject_key text NOT NULL,
    subject_version bigint NOT NULL,
    labels jsonb NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL,
    -- The last recipient whose deliveries exist; the audience is drawn up in chunks.
    planned_through text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id)
);
CREATE INDEX notifications_to_plan ON notifications (lane, deliver_by) WHERE state = 1;
CREATE INDEX notifications_by_subject ON notifications (tenant, subject_key, id)
    WHERE subject_key <> '';
CREATE INDEX notifications_by_age ON notifications (useless_after);

CREATE TABLE requests (
    tenant text NOT NULL,
    request_id text NOT NULL,
    fingerprint bytea NOT NULL,
    notification uuid NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX requests_by_age ON requests (create_time);

-- The newest version of each subject: older ones stop wherever they are.
CREATE TABLE subjects (
    tenant text NOT NULL,
    subject_key text NOT NULL,
    version bigint NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, subject_key)
);
CREATE INDEX subjects_by_age ON subjects (update_time);

CREATE TABLE deliveries (
    tenant text NOT NULL,
    notification uuid NOT NULL,
    id uuid NOT NULL,
    recipient text NOT NULL,
    channel text NOT NULL,
    lane smallint NOT NULL,
    state smallint NOT NULL,
    reason smallint NOT NULL DEFAULT 0,
    attempts smallint NOT NULL DEFAULT 0,
    resent boolean NOT NULL DEFAULT false,
    -- Grows with each lease; a result that comes under an old one changes nothing here.
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    run_at timestamptz,
    deliver_by timestamptz NOT NULL,
    receipt text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant, notification, id),
    UNIQUE (tenant, notification, recipient, channel)
);
CREATE INDEX deliveries_pending ON deliveries (channel, lane, deliver_by) WHERE state = 1;
CREATE INDEX deliveries_waiting ON deliveries (run_at) WHERE state = 2;
CREATE INDEX deliveries_in_flight ON deliveries (lease_until) WHERE state = 3;
CREATE INDEX deliveries_uncertain ON deliveries (update_time) WHERE state = 7;

CREATE TABLE attempts (
    tenant text NOT NULL,
    notification uuid NOT NULL,
    delivery uuid NOT NULL,
    number smallint NOT NULL,
    worker text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    event smallint,
    reason smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, notification, delivery, number)
);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant text NOT NULL,
    notification uuid NOT NULL,
    kind smallint NOT NULL,
    reason smallint NOT NULL,
    delivery uuid,
    recipient text NOT NULL,
    channel text NOT NULL,
    attempt smallint NOT NULL,
    detail text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (tenant, notification, id)
);

CREATE TABLE inboxes (
    tenant text NOT NULL,
    recipient text NOT NULL,
    -- Made anew with the inbox: a cursor of another epoch is no place in this one.
    epoch uuid NOT NULL,
    seq bigint NOT NULL,
    change_seq bigint NOT NULL,
    -- Changes up to here may be of messages that were removed since.
    trimmed_seq bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, recipient),
    FOREIGN KEY (tenant, recipient) REFERENCES recipients ON DELETE CASCADE
);

CREATE TABLE inbox_messages (
    tenant text NOT NULL,
    recipient text NOT NULL,
    seq bigint NOT NULL,
    change_seq bigint NOT NULL,
    notification uuid NOT NULL,
    delivery uuid NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    html text NOT NULL,
    action_url text NOT NULL,
    category smallint NOT NULL,
    locale text NOT NULL,
    subject_key text NOT NULL,
    subject_version bigint NOT NULL,
    superseded boolean NOT NULL DEFAULT false,
    labels jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    read_time timestamptz,
    useless_after timestamptz NOT NULL,
    PRIMARY KEY (tenant, recipient, seq),
    UNIQUE (tenant, recipient, delivery),
    FOREIGN KEY (tenant, recipient) REFERENCES inboxes ON DELETE CASCADE
);
CREATE UNIQUE INDEX inbox_changes ON inbox_messages (tenant, recipient, change_seq);
CREATE INDEX inbox_subjects ON inbox_messages (tenant, recipient, subject_key)
    WHERE subject_key <> '' AND NOT superseded;
CREATE INDEX inbox_unread ON inbox_messages (tenant, recipient)
    WHERE read_time IS NULL AND NOT superseded;
CREATE INDEX inbox_by_age ON inbox_messages (create_time);
