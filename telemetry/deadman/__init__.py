"""
A second process that watches the first: it pages when rules aren't evaluated any more.

    judging.py   pure: when to page
    app.py       asks telemetry, sends mail and webhooks
    settings.py  what it can be told
"""
