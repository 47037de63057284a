"""Limits: what they are about, how quotas are divided, and the exact ones. ADR 0011."""
