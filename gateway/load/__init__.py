"""What the edges report of their load, and what is made of it."""
