-- The catalog of services and routes, every revision of it, and the log of who changed what.

-- One row. A change takes it first: changes happen one after another, their numbers have no gaps,
-- and the order of numbers is the order of commits.
CREATE TABLE catalog_state (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
INSERT INTO catalog_state (revision) VALUES (0);

-- Descriptor sets by their hash: a new endpoint is a new revision, not a new copy of these.
CREATE TABLE descriptor_sets (
    sha256  text PRIMARY KEY CHECK (length(sha256) = 64),
    content bytea NOT NULL
);

-- What is there now.
CREATE TABLE objects (
    -- services/{service} or services/{service}/routes/{route}
    name        text COLLATE "C" PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('service', 'route')),
    content     jsonb NOT NULL,
    etag        text NOT NULL,
    revision    bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
CREATE INDEX objects_kind ON objects (kind, name);
CREATE INDEX objects_content ON objects USING gin (content jsonb_path_ops);

-- What ever was: one row a change.
CREATE TABLE revisions (
    revision    bigint PRIMARY KEY,
    object      text COLLATE "C" NOT NULL,
    action      text NOT NULL CHECK (action IN ('create', 'update', 'delete')),
    content     jsonb CHECK ((content IS NULL) = (action = 'delete')),
    etag        text,
    actor       text NOT NULL,
    object_create_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX revisions_object ON revisions (object, revision);

-- Requests that were answered, so that a repetition is answered alike. Kept for a day.
CREATE TABLE request_ids (
    actor       text NOT NULL,
    request_id  text NOT NULL,
    digest      bytea NOT NULL,
    -- What it came to: the object as of this revision.
    object      text NOT NULL,
    revision    bigint NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (actor, request_id)
);
CREATE INDEX request_ids_create_time ON request_ids (create_time);

-- Who did what. Each record's hash covers the one before it: none can be altered or taken out
-- without all later ones changing too.
CREATE TABLE audit_log (
    seq           bigint PRIMARY KEY,
    create_time   timestamptz NOT NULL,
    actor         text NOT NULL,
    action        text NOT NULL,
    resource      text NOT NULL,
    detail        jsonb NOT NULL,
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (octet_length(hash) = 32)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER revisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
