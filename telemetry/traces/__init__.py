"""Traces: found by what their spans are, and what their time went into."""
