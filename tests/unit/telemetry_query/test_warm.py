"""The first query doesn't pay for the compiler."""

from telemetry.promql import folds, kernels
from telemetry.promql.warm import warm


def test_warming_compiles_what_dashboards_ask_most():
    warm()
    for kernel in (kernels.extrapolated, kernels.latest, kernels.bounds, folds._fold_steps):
        assert kernel.signatures
