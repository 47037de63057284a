"""The command line of the mesh, and the supervisor that runs it on one machine."""
