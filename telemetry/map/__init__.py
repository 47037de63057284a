"""The service map: who calls whom, how often, how well, from spans as they come in."""
