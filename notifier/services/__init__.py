"""gRPC in, domain out: the only rooms that know generated types."""
