-- API keys, revoked tokens, and the keys of other issuers as they were last fetched.

-- What API keys are signed with: the newest signs, the others are published as long as one of
-- their keys lives. Not the keys that sign tokens, which are forgotten after a day.
CREATE TABLE api_key_signers (
    key_id      text PRIMARY KEY,
    public_jwk  jsonb NOT NULL,
    -- The private key, encrypted with the authority's seal.key.
    sealed      bytea NOT NULL,
    create_time timestamptz NOT NULL
);

-- Of a key's text there is only the hash: to tell whose a key is that was found somewhere.
CREATE TABLE api_keys (
    token_id    text COLLATE "C" PRIMARY KEY,
    text_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(text_sha256) = 32),
    signer      text NOT NULL REFERENCES api_key_signers (key_id),
    subject     text COLLATE "C" NOT NULL,
    tenant      text NOT NULL,
    roles       text[] NOT NULL,
    scopes      text[] NOT NULL,
    description text NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    revoke_time timestamptz
);
CREATE INDEX api_keys_subject ON api_keys (subject, token_id);
CREATE INDEX api_keys_expire_time ON api_keys (expire_time);

-- Written under a lock, so that `seq` is the order of the commits and a reader misses none.
CREATE TABLE revocations (
    token_id    text COLLATE "C" PRIMARY KEY,
    seq         bigint NOT NULL UNIQUE,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    reason      text NOT NULL,
    actor       text NOT NULL
);
CREATE INDEX revocations_expire_time ON revocations (expire_time);

CREATE TABLE issuer_keys (
    issuer      text PRIMARY KEY,
    uri         text NOT NULL,
    jwks        text NOT NULL,
    fetch_time  timestamptz NOT NULL
);
