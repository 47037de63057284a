"""
Tells people things in time: accepts notifications and delivers them, or says why not.

    services/ ─▶ intake ─▶ store/ (PostgreSQL: what was accepted is durable)
                             │ hints (wakes.py: may be lost, everybody polls too)
                             ▼
                 planner ─▶ plan (pure: who, over which channel, or why not)
                             ▼
                 lanes ─▶ render ─▶ channels/ ─▶ recorder ─▶ retry (pure: what next)
                             ▲                                  │
                 housekeeper (leases that ran out, retries that are due, old rows)
"""
