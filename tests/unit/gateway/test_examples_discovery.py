"""The examples of discovery in the docs are objects that the catalog takes, one for each source."""

from pathlib import Path

from gateway import validation
from gateway.services.convert import object_in
from gateway.sources.source import SOURCES, kind_of
from meshctl.objects.read import read, sources


EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "discovery.yaml"


def test_the_examples_can_be_applied_and_there_is_one_of_every_source():
    shown = set()
    for message in read(sources([EXAMPLES]), {}).objects:
        service = object_in(message)
        validation.check_service(service)
        shown.add(kind_of(service).key)
    assert shown == {row.key for row in SOURCES}
