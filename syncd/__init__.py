"""Sync: spaces whose cells every device keeps in step with, also after long silence."""
