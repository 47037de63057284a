"""Grafana's units in UCUM, as OpenTelemetry writes them."""

from __future__ import annotations

from collections.abc import Mapping


UNITS: Mapping[str, str] = {
    "": "", "none": "", "short": "", "string": "",
    "percentunit": "1", "percent": "%",
    "s": "s", "ms": "ms", "µs": "us", "us": "us", "ns": "ns", "m": "min", "h": "h", "d": "d",
    "dtdurations": "s", "dtdurationms": "ms", "clocks": "s",
    "bytes": "By", "decbytes": "By", "kbytes": "KiBy", "mbytes": "MiBy", "gbytes": "GiBy",
    "bits": "bit", "decbits": "bit",
    "Bps": "By/s", "binBps": "By/s", "bps": "bit/s", "binbps": "bit/s",
    "ops": "{operation}/s", "reqps": "{request}/s", "rps": "{read}/s", "wps": "{write}/s",
    "iops": "{operation}/s", "cps": "{count}/s", "pps": "{packet}/s", "mps": "{message}/s",
    "opm": "{operation}/min", "reqpm": "{request}/min", "hertz": "Hz",
    "celsius": "Cel", "watt": "W", "volt": "V", "bool": "{bool}",
    "dateTimeAsIso": "s", "dateTimeFromNow": "s",
}  # fmt: skip
"""What isn't here is told when a dashboard is imported."""
