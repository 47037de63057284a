"""What becomes of changes: receipts from every proxy, the preflight, the canary."""
