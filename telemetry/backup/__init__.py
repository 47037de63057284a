"""
Backups of a running telemetry, and how it is made of one again.

    <name>/                     when it was begun, in UTC; drafts begin with a dot
      backup.json               the moment it is of, and what it holds
      log/                      segments that weren't loaded then, and the next number
      tables/<table>/<part>/    parts of tables, as they are
      postgres/<table>.csv      rules, alerts, silences, routing and dashboards
"""
