"""How OTLP comes in: judged, logged, acknowledged, and every item accounted for."""
