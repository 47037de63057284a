"""
The write-ahead log: what was acknowledged is here until it is in the tables.

    log/<signal>/<number>.pb   segments; each is ClickHouse's `Protobuf` load file as it stands
    log/quarantine/            bytes that should have been a record and are not
    log/next                   the first segment number not handed out yet
"""
