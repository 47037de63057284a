"""The command line: one module per verb, or per family of verbs."""
