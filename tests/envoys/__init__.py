"""The Envoys that are supported besides the newest: a lock file for each."""
