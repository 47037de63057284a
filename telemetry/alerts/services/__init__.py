"""gRPC in, rules and alerts out: `RuleService`, `AlertService`."""
