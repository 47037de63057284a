"""The discovery protocol: what is sent to whom, in which order, and what came of it."""
