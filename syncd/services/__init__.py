"""gRPC in, domain out: `SpaceService` and `SyncService`."""
