"""Changes of every kind while requests and streams go on: what fails, and what is cut."""
