"""Logs: followed as they come, and sorted into patterns."""
