"""
Native histograms: Prometheus's type of sample that holds a whole distribution.

    columns.py  many histograms as arrays, a row each; what sources hand over
"""
