"""
What comes next: seasons, forecasts with backtested intervals, bands, dates of exhaustion, sizes.

Pure functions over arrays on a regular grid of times; NaN is a gap. Nothing here knows a clock,
a store or gRPC.
"""
