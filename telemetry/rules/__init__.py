"""
Prometheus's rules: expressions whose values are recorded, or that alert.

    model.py       groups, rules and their durations
    files.py       Prometheus's YAML, read strictly
    template/      Go's templates, as labels and annotations use them
    states.py      pure: what becomes of a rule's alerts with each evaluation
    grid.py        pure: when groups are due
    evaluating.py  one rule at one time
    recording.py   what an evaluation leaves behind, as an OTLP request
    runner.py      the loop
    history.py     pure: what a rule would have done
"""
