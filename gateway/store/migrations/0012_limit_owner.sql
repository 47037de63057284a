-- Which replica decides on strict limits. Edges ask any replica; those that aren't it pass the
-- question on. Without an unexpired row nobody decides.
CREATE TABLE limit_owner (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    replica text NOT NULL,
    address text NOT NULL,
    expire_time timestamptz NOT NULL
);
