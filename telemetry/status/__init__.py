"""
The platform's status table: each service in a row.

    table.py    pure: rows of what queries find
    asking.py   the queries
    service.py  gRPC
"""
