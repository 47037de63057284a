"""The airport day: a real day of flights replayed against the mesh, as its users would use it."""
