-- Replicas that registered themselves. A row that is gone stays a while for those who follow.
CREATE TABLE registrations (
    name        text PRIMARY KEY,
    service     text NOT NULL,
    replica     text NOT NULL,
    address     text NOT NULL,
    port        integer NOT NULL,
    endpoint    jsonb NOT NULL,
    lease       interval NOT NULL,
    create_time timestamptz NOT NULL,
    -- By the database's clock, the only one that all gateways share.
    expire_time timestamptz NOT NULL,
    -- Which stream of which gateway keeps it; empty: none does.
    holder      text NOT NULL DEFAULT '',
    -- Its end is decided: nothing keeps it any more.
    leaving     boolean NOT NULL DEFAULT false,
    gone        boolean NOT NULL DEFAULT false,
    -- The change that made it what it is; a mere heartbeat is none.
    seq         bigint NOT NULL
);
CREATE INDEX registrations_seq ON registrations (seq);
CREATE INDEX registrations_expire_time ON registrations (expire_time);
CREATE INDEX registrations_place ON registrations (service, address, port) WHERE NOT gone;

-- Numbers the changes. Taken under this row's lock, they become visible in their order.
CREATE TABLE registry_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL DEFAULT 0,
    -- Of those that went by changes up to this one, nothing is left.
    purged   bigint NOT NULL DEFAULT 0
);
INSERT INTO registry_state DEFAULT VALUES;
