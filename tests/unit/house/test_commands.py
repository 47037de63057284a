"""Command lines of meshctl in documents are ones that meshctl takes."""

from pathlib import Path

import pytest

from tests.fixtures.commands import commands_in, parses


ROOT = Path(__file__).parents[3]
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
PAGES = [*RUNBOOKS, ROOT / "README.md", ROOT / "docs/examples/README.md"]
LINES = [(page.name, line) for page in PAGES for line in commands_in(page)]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_in_a_document_is_one_that_meshctl_takes(page, line):
    parses(line)


def test_every_runbook_has_commands_and_stands_on_the_page_of_runbooks():
    listed = (ROOT / "docs/runbooks/README.md").read_text()

    for page in RUNBOOKS:
        if page.name != "README.md":
            assert commands_in(page), page.name
            assert f"({page.name})" in listed


@pytest.mark.parametrize(
    "line", ["meshctl aply", "meshctl apply", "meshctl rollback x", "meshctl get"]
)
def test_a_command_that_meshctl_does_not_take_is_found(line):
    with pytest.raises(AssertionError):
        parses(line)
