"""
Service level objectives: which share of events is to be good.

    model.py     objectives
    rules.py     pure: the rules that are made of one
    standing.py  how much is left of their budgets
    wire.py      messages to the model and back
    service.py   gRPC
"""
