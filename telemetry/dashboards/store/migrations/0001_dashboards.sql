-- Dashboards as they are, and every revision they ever had.

CREATE TABLE dashboards (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    revision       bigint      NOT NULL,
    spec           jsonb       NOT NULL,  -- the contract's Dashboard without what is only put out
    etag           text        NOT NULL,
    request_id     text        NOT NULL,  -- of the call that created it; '' if it gave none
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE dashboard_revisions (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    revision       bigint      NOT NULL,
    spec           jsonb       NOT NULL,
    etag           text        NOT NULL,
    author         text        NOT NULL,
    create_time    timestamptz NOT NULL,
    deleted        boolean     NOT NULL,
    PRIMARY KEY (tenant, id, revision)
);
