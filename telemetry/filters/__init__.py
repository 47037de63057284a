"""The one filter language of logs and spans (docs/specs/logs.md): parsed, then compiled to SQL."""
