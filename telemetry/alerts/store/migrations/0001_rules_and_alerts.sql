-- Rules, the alerts they have raised, and silences. Metrics themselves are elsewhere.

CREATE TABLE rule_groups (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    spec           jsonb       NOT NULL,  -- as in a rule file, `name` its title
    source         text        NOT NULL,
    etag           text        NOT NULL,
    request_id     text        NOT NULL,  -- of the call that created it; '' if it gave none
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- Up to when rules had been evaluated: what a restart was away for.
CREATE TABLE rule_clock (
    single         boolean     PRIMARY KEY DEFAULT true CHECK (single),
    evaluated_ms   bigint      NOT NULL
);

CREATE TABLE alerts (
    tenant         text        NOT NULL,
    id             text        NOT NULL,  -- hash of tenant, group, rule and labels
    rule_group     text        NOT NULL,
    rule           text        NOT NULL,  -- the rule's key
    alert          jsonb       NOT NULL,
    marks          jsonb       NOT NULL,  -- acknowledgement, receipt
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE silences (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    matchers       text[]      NOT NULL,
    start_ms       bigint      NOT NULL,
    end_ms         bigint      NOT NULL,
    comment        text        NOT NULL,
    creator        text        NOT NULL,
    etag           text        NOT NULL,
    request_id     text        NOT NULL,
    created_ms     bigint      NOT NULL,
    updated_ms     bigint      NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX silences_by_end ON silences (tenant, end_ms);

CREATE UNIQUE INDEX silences_by_request ON silences (tenant, request_id) WHERE request_id <> '';
