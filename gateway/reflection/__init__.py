"""Descriptors that services tell of themselves, by gRPC server reflection."""
