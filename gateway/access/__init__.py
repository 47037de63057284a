"""Who gets through the edge: API keys, revoked tokens, and the keys of other issuers."""
