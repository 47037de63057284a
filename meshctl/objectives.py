"""Objectives as files: YAML, a document each, with the field names of the contract."""

from __future__ import annotations

import re

import yaml
from google.protobuf import json_format

from aerofusion.telemetry.v1 import objective_pb2
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of


_DAYS = re.compile(r"(\d{1,4})d")


def parse(content: str, where: str) -> list[objective_pb2.Objective]:
    """
    Return the objectives in a text.

    Args:
        where: What the text is called.

    Raises:
        MeshctlError: It can't be read.

    """
    found = []
    try:
        for document in yaml.load_all(content, yaml.CSafeLoader):
            if document is None:
                continue
            if not isinstance(document, dict):
                raise MeshctlError(f"{where}: a document is no objective.")
            if "window" in document:
                document["window"] = _seconds(str(document["window"]))
            found.append(json_format.ParseDict(document, objective_pb2.Objective()))
    except (yaml.YAMLError, json_format.ParseError) as error:
        raise MeshctlError(f"{where}: {error}", "meshctl objectives show NAME --json") from None
    return found


def _seconds(text: str) -> str:
    days = _DAYS.fullmatch(text)
    found = duration_of(f"{int(days[1]) * 24}h" if days else text)
    if found is None:
        raise MeshctlError(f"{text!r} is no duration.", "28d, 672h")
    return f"{found.seconds}s"
