"""The mesh's trust: certificate authority, join tokens, signed tokens and their keys."""
