-- Objectives; the rules made of them stand in rule_groups.

CREATE TABLE objectives (
    tenant         text        NOT NULL,
    id             text        NOT NULL,
    spec           jsonb       NOT NULL,
    etag           text        NOT NULL,
    request_id     text        NOT NULL,  -- of the call that created it; '' if it gave none
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (tenant, id)
);
