"""Rules about the code itself that no linter we use can check."""

import ast
import builtins
import re
import subprocess
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent.parent.parent
PACKAGES = ("gateway", "meshctl", "meshkit", "notifier", "syncd", "telemetry", "clients")
SOURCES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
]

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
SAYS_NOTHING = {"utils", "helpers", "common", "manager", "base", "core", "misc"}
CALLED_AT_IMPORT = {
    "Path.with_name",
    "allow",
    "click.option",
    "date",
    "datetime",
    "dns_name",
    "np.dtype",
    "np.frombuffer",
    "np.uint64",
    "np.zeros",
    "re.compile",
    "structlog.get_logger",
    "timedelta",
}
"""Makes constants and names; anything else at import is work, and an import does none."""

PAUSES = re.compile(r"# (polls|paces)\b")
"""A sleep between looks, or one that is the load or the fault itself, says so on its line."""

WORK = {"eval", "exec", "input", "open", "print"}
"""Built-in functions that do more than make a value."""

MAKES_VALUES = CALLED_AT_IMPORT | set(dir(builtins)) - WORK


def relative(path):
    return str(path.relative_to(ROOT))


def own_constructors(tree):
    """Classes and functions of the module itself: rows of a table, made of constants."""
    return {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}


def too_long(path, text, tree):
    if text.count("\n") > MODULE_LINES_MAX:
        yield "the module"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines"


def says_nothing(path, text, tree):
    if path.stem in SAYS_NOTHING:
        yield "its name"
    if text and not ast.get_docstring(tree):
        yield "no docstring"


def works_at_import(path, text, tree):
    own = own_constructors(tree)
    for node in tree.body:
        if isinstance(node, ast.For | ast.While | ast.With):
            yield f"line {node.lineno}"
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            yield f"line {node.lineno}"
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            name = re.sub(r"\(.*\)", "", ast.unparse(node.value.func))
            split = name.endswith(".split")  # a list of words
            if not (name in MAKES_VALUES | own or split or name.rpartition(".")[2][:1].isupper()):
                yield f"line {node.lineno}: {name}"


RULES = (too_long, says_nothing, works_at_import)


@pytest.fixture(scope="module")
def offences():
    """What breaks each of the rules. Every module is parsed once, for all of them."""
    found = {rule: [] for rule in RULES}
    for path in SOURCES:
        text = path.read_text()
        tree = ast.parse(text)
        for rule in RULES:
            found[rule] += [f"{relative(path)}: {what}" for what in rule(path, text, tree)]
    return found


def test_modules_and_functions_fit_in_the_head(offences):
    assert offences[too_long] == []


def test_modules_say_what_they_are_for(offences):
    assert offences[says_nothing] == []


def test_importing_a_module_does_nothing(offences):
    """No file is read, no environment consulted, nothing is connected or started at import."""
    assert offences[works_at_import] == []


def test_adding_a_test_does_not_cost_a_sleep():
    """A test waits for what it needs, not for time to pass."""
    sleeps = re.compile(r"(?:time|asyncio)\.sleep\((?!0\))")
    offenders = [
        f"{relative(path)}:{number}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleeps.search(line) and not PAUSES.search(line)
    ]

    assert offenders == []


def test_nothing_names_a_download_address_or_a_folder_of_one_machine():
    address = re.compile(
        r"https?://[^\s\"')]*(?:\.whl|\.tar\.gz|\.tgz)\b|files\.pythonhosted|registry\.npmjs|"
        r"pypi\.org/simple|/home/\w+/|/Users/\w+/"
    )
    offenders = []
    for path in TRACKED:
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        offenders += [f"{relative(path)}: {found}" for found in address.findall(text)]

    assert offenders == []


@pytest.mark.parametrize("service", ["gateway", "notifier", "syncd", "telemetry"])
def test_every_service_has_the_same_names_for_the_same_jobs(service):
    for name in ("__main__.py", "app.py", "settings.py", "policy.py"):
        assert (ROOT / service / name).is_file(), name
