"""
The page of examples shows the files as they are, and each file is written as the others are.

`pytest tests/unit/house/test_examples.py --rewrite` writes the page anew.
"""

import pytest

from meshctl.objects.names import kind_of
from meshctl.objects.read import read, sources
from tests.fixtures.examples import FOLDER, VARIABLES, examples, page


PAGE = FOLDER / "README.md"


def test_the_page_shows_the_examples_as_they_are(rewrite):
    if rewrite:
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), (
        "docs/examples/README.md is stale: see this module's docstring"
    )


@pytest.mark.parametrize("one", examples(), ids=lambda one: one.path.stem)
def test_an_example_says_what_it_is_for_and_holds_objects(one):
    assert one.title
    assert one.says, "its head says only a title"
    found = read(sources([one.path]), dict.fromkeys(VARIABLES, "-"))
    assert all(kind_of(name) for name in found.places)
    assert found.objects
