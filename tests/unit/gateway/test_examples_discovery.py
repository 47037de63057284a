"""The examples of discovery in the docs are objects that the catalog takes."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from aerofusion.gateway.v1 import object_pb2
from gateway import validation
from gateway.services.convert import object_in
from gateway.sources.source import kind_of


EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "discovery.yaml"
DOCUMENTS = list(yaml.safe_load_all(EXAMPLES.read_text()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one["service"]["name"])
def test_an_example_can_be_applied_and_names_a_source(document):
    service = object_in(json_format.ParseDict(document, object_pb2.Object()))
    validation.check_service(service)
    assert kind_of(service).key in document["service"]["discovery"]


def test_there_is_an_example_of_every_source():
    shown = {key for one in DOCUMENTS for key in one["service"]["discovery"]}
    assert shown == {"dns", "registry", "kubernetes"}
