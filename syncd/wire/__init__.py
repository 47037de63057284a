"""Between the contract's messages and what syncd speaks of: the only place that knows both."""
