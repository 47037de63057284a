"""
Runs every `session/*.scenario`: commands above `----`, what the session does below.

    shelf TYPE name=version ...     what the shelf holds from before
    own TYPE name=version ...       the relay's own items, now
    ask TYPE [+name] [-name] [held:name=version] [nonce=N] [error]
    connected | lost | quiet | starving
    answer TYPE nonce=N [name=version] [-name]

`pytest --rewrite` writes the actual results into the files.
"""

import re
from pathlib import Path

import pytest

from gateway.relay.session import Answer, Ask, Item, Keep, KeepOnly, Session, ToEnvoy, ToGateway


SCENARIOS = sorted((Path(__file__).parent / "session").glob("*.scenario"))


def items(words) -> tuple[Item, ...]:
    pairs = (word.split("=") for word in words if "=" in word and not word.startswith("nonce="))
    return tuple(Item(name, version) for name, version in pairs)


def value(words, key: str) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(f"{key}=")), "")


def marked(words, mark: str) -> tuple[str, ...]:
    return tuple(word[1:] for word in words if word.startswith(mark))


def show_items(given, removed) -> str:
    words = [f"{item.name}={item.version}" for item in given] + [f"-{name}" for name in removed]
    return f"[{' '.join(words)}]"


def show(action) -> str:
    match action:
        case ToEnvoy(answer):
            content = show_items(answer.items, answer.removed)
            return f"to Envoy: {answer.type_url} {content} nonce={answer.nonce}"
        case ToGateway(ask):
            parts = [f"+{name}" for name in ask.subscribe] + [f"-{n}" for n in ask.unsubscribe]
            parts += [f"held:{name}={version}" for name, version in sorted(ask.held.items())]
            parts += [f"nonce={ask.nonce}"] if ask.nonce else []
            parts += ["error"] if ask.error else []
            return " ".join(["to gateway:", ask.type_url, *parts])
        case Keep(type_url, kept, removed):
            return f"keep: {type_url} {show_items(kept, removed)}"
        case KeepOnly(type_url, names):
            return f"keep only: {type_url} [{' '.join(sorted(names))}]"
    raise AssertionError(action)


class Interpreter:
    """The session, and a shelf that does what it is told."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Item]] = {}
        self.own_tables: dict[str, dict[str, Item]] = {"SDS": {}}
        self.session = Session(
            shelf=self.tables,
            own=self.own_tables,
            reserved={"SDS": frozenset({"edge", "edge_public", "trust"})},
            wildcards={"CDS", "LDS", "SRDS"},
        )

    def answer_to(self, line: str) -> str:
        if line == "starving":
            return "yes" if self.session.is_starving else "no"
        return self.run(line)

    def run(self, line: str) -> str:
        command, *words = line.split()
        actions = getattr(self, command)(*words) or []
        for action in actions:
            match action:
                case Keep(type_url, kept, removed):
                    table = self.tables.setdefault(type_url, {})
                    table.update({item.name: item for item in kept})
                    for name in removed:
                        table.pop(name, None)
                case KeepOnly(type_url, names):
                    table = self.tables.setdefault(type_url, {})
                    for name in table.keys() - names:
                        del table[name]
        return "\n".join(show(action) for action in actions) or "nothing"

    def shelf(self, type_url, *words):
        self.tables[type_url] = {item.name: item for item in items(words)}

    def own(self, type_url, *words):
        self.own_tables[type_url].clear()
        self.own_tables[type_url].update({item.name: item for item in items(words)})
        return self.session.on_own_change(type_url)

    def ask(self, type_url, *words):
        held = [word.removeprefix("held:") for word in words if word.startswith("held:")]
        return self.session.on_ask(
            Ask(
                type_url=type_url,
                subscribe=marked(words, "+"),
                unsubscribe=marked(words, "-"),
                held={item.name: item.version for item in items(held)},
                nonce=value(words, "nonce"),
                error=b"no" if "error" in words else b"",
            )
        )

    def connected(self):
        return self.session.on_connected()

    def lost(self):
        return self.session.on_lost()

    def quiet(self):
        return self.session.on_quiet()

    def answer(self, type_url, *words):
        return self.session.on_answer(
            Answer(
                type_url=type_url,
                nonce=value(words, "nonce"),
                items=items(words),
                removed=marked(words, "-"),
            )
        )


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path, rewrite):
    interpreter = Interpreter()
    blocks = []
    for block in re.split(r"\n\n+", path.read_text().strip()):
        if "----" not in block:
            blocks.append(block)
            continue
        given, _ = block.split("----", 1)
        lines = [line for line in given.splitlines() if not line.startswith("#")]
        results = [interpreter.answer_to(line) for line in lines]
        blocks.append(f"{given}----\n{results[-1]}")
    actual = "\n\n".join(blocks) + "\n"

    if rewrite:
        path.write_text(actual)
    assert path.read_text() == actual
