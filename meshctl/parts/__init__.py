"""The parts a mesh is made of: one module per kind of process."""
