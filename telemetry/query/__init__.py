"""Answers to questions: queries over the store, and the gRPC service that takes them."""
