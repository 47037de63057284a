"""
Every verb explains itself, and docs/meshctl.md says the same.

`pytest tests/unit/meshctl/test_page.py --rewrite` writes the page's verbs anew.
"""

from pathlib import Path

import click
import pytest

from meshctl.cli.examples import EXAMPLES
from meshctl.cli.main import SECTIONS, meshctl
from tests.fixtures.commands import parses


PAGE = Path(__file__).parents[3] / "docs/meshctl.md"
COLUMNS = 92


def verbs():
    """Each verb with the words that call it, those of groups after their group."""
    root = click.Context(meshctl, info_name="meshctl")
    for section in SECTIONS.values():
        for name in section:
            yield from within((name,), meshctl.get_command(root, name))


def within(words, command):
    yield words, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from within((*words, name), command.commands[name])


VERBS = dict(verbs())


def help_of(words, command):
    context = click.Context(meshctl, info_name="meshctl", help_option_names=["-h", "--help"])
    for word in words:
        context = click.Context(command, info_name=word, parent=context)
    context.terminal_width = context.max_content_width = COLUMNS
    return command.get_help(context)


def page():
    head = PAGE.read_text().partition("Written by the command itself")
    after = head[2].partition("\n\n")[0]
    parts = [f"{head[0]}{head[1]}{after}"]
    for section, rows in SECTIONS.items():
        parts.append(f"### {section}")
        for words, command in VERBS.items():
            if words[0] in rows:
                mark = "#" * min(6, 3 + len(words))
                text = help_of(words, command)
                parts.append(f"{mark} meshctl {' '.join(words)}\n\n```\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def test_the_page_says_what_the_verbs_say(rewrite):
    if rewrite:
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "docs/meshctl.md is stale: see this module's docstring"


def test_every_verb_has_an_example_and_every_example_a_verb():
    verbs = {
        " ".join(words)
        for words, command in VERBS.items()
        if not isinstance(command, click.Group) or words == ("demo",)
    }

    assert set(EXAMPLES) == verbs - {word for word in verbs if word.startswith("demo ")}


@pytest.mark.parametrize(("words", "line"), [(w, one) for w in EXAMPLES for one in EXAMPLES[w]])
def test_an_example_is_shown_and_parses(words, line):
    command = VERBS[tuple(words.split())]
    assert f"  meshctl {line}\n" in help_of(tuple(words.split()), command) + "\n"
    parses(f"meshctl {line}")


@pytest.mark.parametrize("words", list(VERBS), ids=" ".join)
def test_every_option_and_verb_says_what_it_is(words):
    command = VERBS[words]

    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


def test_verbs_print_json_for_programs():
    without = {("completion",), ("logs",)}
    for words, command in VERBS.items():
        if not isinstance(command, click.Group) and words not in without:
            names = {option.name for option in command.params}
            assert "wants_json" in names, words
