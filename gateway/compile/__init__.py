"""Pure functions from the model to what Envoy and gRPC clients read, a file per resource type."""
