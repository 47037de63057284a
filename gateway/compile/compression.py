"""What the edge compresses: text that is large enough, in the coding the caller likes best."""

from __future__ import annotations

from typing import Any, Final

from gateway.compile.envoy_api import any_of


BYTES_MIN: Final = 860
"""A smaller answer fits a packet as it is."""

CONTENT_TYPES: Final = (
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/problem+json",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
)
"""None of gRPC's or gRPC-Web's: their messages are compressed by those who speak it, or not."""

_COMPRESSOR = "envoy.extensions.filters.http.compressor.v3.Compressor"
_CODECS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("zstd", "envoy.extensions.compression.zstd.compressor.v3.Zstd", {}),
    (
        "brotli",
        "envoy.extensions.compression.brotli.compressor.v3.Brotli",
        {"quality": {"value": 4}},
    ),
    ("gzip", "envoy.extensions.compression.gzip.compressor.v3.Gzip", {}),
)
"""Of several that a caller likes alike, the first: by far the least work for the size."""

COMPRESSORS: Final = tuple(f"envoy.filters.http.compressor.{name}" for name, _, _ in _CODECS)
"""Names of the filters."""


def compressors() -> list[dict[str, Any]]:
    """
    Return the filters; they stand before whatever makes JSON of gRPC, which answers pass first.

    Each piece of an answer is flushed as it comes: a line of a JSON stream isn't held back.
    """
    return [
        {
            "name": filter_name,
            "typed_config": any_of(
                _COMPRESSOR,
                compressor_library={"name": name, "typed_config": any_of(codec, **settings)},
                choose_first=name == _CODECS[0][0],
                response_direction_config={
                    "common_config": {
                        "min_content_length": {"value": BYTES_MIN},
                        "content_type": CONTENT_TYPES,
                    },
                },
            ),
        }
        for filter_name, (name, codec, settings) in zip(COMPRESSORS, _CODECS, strict=True)
    ]
