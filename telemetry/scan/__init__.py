"""What clients send, read as bytes: is it well-formed, what is in it, which series are new."""
