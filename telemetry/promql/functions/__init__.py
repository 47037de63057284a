"""PromQL's functions, by what they work on. `table.py` has a row for each."""
