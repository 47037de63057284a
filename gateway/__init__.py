"""The control plane: what edges and clients are told, and who everyone is."""
