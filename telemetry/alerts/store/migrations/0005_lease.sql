-- Which replica tells people of alerts, and until when no other may.

CREATE TABLE alert_lease (
    single         boolean     PRIMARY KEY DEFAULT true CHECK (single),
    holder         text        NOT NULL,
    until          timestamptz NOT NULL
);
