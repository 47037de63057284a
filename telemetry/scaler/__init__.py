"""KEDA's external scaler: replicas for the load that is coming, not for the one that is there."""
