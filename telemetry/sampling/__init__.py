"""Tail sampling: which traces stay, decided when they have ended."""
