"""
What becomes of alerts: who is told, who has taken them on, what is silenced.

    model.py     marks on alerts, silences
    codec.py     alerts to JSON and back
    board.py     alerts as they stand, for whoever asks or watches
    room.py      all of it joined to PostgreSQL, which may be away
    store/       SQL
    services/    gRPC
"""
