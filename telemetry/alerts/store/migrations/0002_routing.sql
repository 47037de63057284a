-- Who is told of alerts, and what they have been told.

CREATE TABLE routing (
    tenant         text        NOT NULL PRIMARY KEY,
    spec           jsonb       NOT NULL,  -- aerofusion.telemetry.v1.Routing as JSON
    etag           text        NOT NULL,
    update_time    timestamptz NOT NULL
);

CREATE TABLE alert_groups (
    tenant         text        NOT NULL,
    policy         text        NOT NULL,
    key            text        NOT NULL,  -- the labels alerts of the group are equal in, as JSON
    state          jsonb       NOT NULL,
    PRIMARY KEY (tenant, policy, key)
);
