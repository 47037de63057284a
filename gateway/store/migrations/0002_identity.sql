-- Who may join, which certificates were issued, which keys sign tokens.
-- Times are the gateway's clock, passed in, so that one clock decides.

CREATE TABLE join_tokens (
    token_sha256 bytea PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
    spiffe_id    text NOT NULL,
    public_names text[] NOT NULL,
    create_time  timestamptz NOT NULL,
    expire_time  timestamptz NOT NULL,
    -- Set together, once: a token works for the first key that shows it.
    use_time     timestamptz,
    key_sha256   bytea CHECK (octet_length(key_sha256) = 32),
    serial       text,
    CHECK ((use_time IS NULL) = (key_sha256 IS NULL) AND (use_time IS NULL) = (serial IS NULL))
);
CREATE INDEX join_tokens_expire_time ON join_tokens (expire_time);

CREATE TABLE certificates (
    serial      text PRIMARY KEY,
    -- The workload it was issued to; a public certificate doesn't name it.
    spiffe_id   text NOT NULL,
    -- Empty for a workload's own certificate.
    public_names text[] NOT NULL,
    chain_pem   bytea NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL
);
CREATE INDEX certificates_spiffe_id ON certificates (spiffe_id, expire_time);
CREATE INDEX certificates_expire_time ON certificates (expire_time);

-- Public names each workload may have certificates for, by its last join.
CREATE TABLE public_name_grants (
    spiffe_id    text PRIMARY KEY,
    public_names text[] NOT NULL
);

CREATE TABLE signing_keys (
    key_id      text PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('NEXT', 'ACTIVE', 'RETIRED')),
    public_jwk  jsonb NOT NULL,
    -- The private key, encrypted with the authority's seal.key.
    sealed      bytea NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz,
    CHECK ((state = 'RETIRED') = (expire_time IS NOT NULL))
);
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state <> 'RETIRED';
