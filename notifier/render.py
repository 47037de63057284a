"""
Templates: data, never code. Liquid over plain JSON values, in an environment with bounds.

Bounds: the number of tags, outputs and filters in a source, turns of loops, characters
that filters work on, output and variables assigned. Python objects are out of
reach: a path is looked up in mappings and lists only.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liquid import Environment, RenderContext
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError
from liquid.undefined import FalsyStrictUndefined

from notifier import liquid_filters


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from liquid import BoundTemplate
    from liquid.expression import Expression

    from notifier.model import Content, Template

STEPS_MAX = 400
"""Tags, outputs and filters in one source."""
LOOP_TURNS_MAX = 50
"""Turns of one loop, those of the loops around it multiplied."""
OUTPUT_BYTES_MAX = 65_536
LOCALS_BYTES_MAX = 65_536
CACHED_MAX = 1_024
"""Template versions kept parsed."""

TAGS = ("if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "raw")
FIELDS = ("subject", "text", "html", "action_url")
STEP = re.compile(r"\{\{|\{%|\|")
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
ACTION_URL = re.compile(r"(?:https://[^\s<>\"\\]+|/(?!/)[^\s<>\"\\]*)?")
SUBJECT_CHARS_MAX = 300
ACTION_URL_CHARS_MAX = 2_000


class RenderFailed(Exception):
    """A template can't be parsed, or not be rendered with these values. Fit for callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a message says."""

    locale: str
    subject: str
    text: str
    html: str
    action_url: str


class _Bounded(Environment):
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = LOOP_TURNS_MAX
    local_namespace_limit = LOCALS_BYTES_MAX
    output_stream_limit = OUTPUT_BYTES_MAX


def environment(*, autoescape: bool) -> Environment:
    """Return an environment for text, or for HTML with *autoescape*."""
    made = _Bounded(undefined=FalsyStrictUndefined, strict_filters=True, autoescape=autoescape)
    for name in set(made.tags) - {*TAGS, "content", "output", "illegal", "statement", "literal"}:
        if not name.startswith(("end", "#")):
            del made.tags[name]
    liquid_filters.install(made)
    return made


class Renderer:
    """Renders; keeps what it has parsed, which never changes for a template's version."""

    def __init__(self) -> None:
        self._plain = environment(autoescape=False)
        self._html = environment(autoescape=True)
        self._parsed: OrderedDict[tuple[str, ...], dict[str, BoundTemplate]] = OrderedDict()

    def problems(self, content: Content) -> dict[str, str]:
        """Return what is wrong with each Liquid source of *content*, by field."""
        found = {}
        for field in FIELDS:
            try:
                self._parse(field, getattr(content, field))
            except RenderFailed as error:
                found[field] = str(error)
        return found

    def render(
        self,
        tenant: str,
        template: Template,
        content: Content,
        values: Mapping[str, Any],
    ) -> Rendered:
        """
        Render *content*, a part of *template*, with *values*.

        Raises:
            RenderFailed: A value is missing, or a bound was reached.

        """
        key = (tenant, template.id, str(template.version), content.channel, content.locale)
        parsed = self._parsed.get(key)
        if parsed is None:
            parsed = {field: self._parse(field, getattr(content, field)) for field in FIELDS}
            self._parsed[key] = parsed
            if len(self._parsed) > CACHED_MAX:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(key)
        made = {field: _run(field, parsed[field], values) for field in FIELDS}
        action_url = made["action_url"].strip()
        if not ACTION_URL.fullmatch(action_url) or len(action_url) > ACTION_URL_CHARS_MAX:
            raise RenderFailed("action_url: renders to neither an https: address nor a path")
        return Rendered(
            locale=content.locale,
            # A line break in a subject would begin a header of the attacker's choice.
            subject=CONTROL.sub(" ", made["subject"]).strip()[:SUBJECT_CHARS_MAX],
            text=made["text"],
            html=made["html"],
            action_url=action_url,
        )

    def _parse(self, field: str, source: str) -> BoundTemplate:
        if len(STEP.findall(source)) > STEPS_MAX:
            raise RenderFailed(f"more than {STEPS_MAX} tags, outputs and filters")
        made = self._html if field == "html" else self._plain
        try:
            parsed = made.from_string(source)
            free_range = _has_free_range(parsed)
        except LiquidError as error:
            raise RenderFailed(_told(error)) from None
        except (RecursionError, ValueError, TypeError, ArithmeticError) as error:
            raise RenderFailed("not Liquid") from error
        if free_range:
            raise RenderFailed("a range such as (1..9) stands only behind `for x in`")
        return parsed


def choose(template: Template, channel: str, locale: str) -> Content | None:
    """
    Return the content for *channel* in the best language for *locale*: exact, then with
    parts cut from its end (`pt-BR`, `pt`), then the template's default.
    """
    by_locale = {c.locale.lower(): c for c in template.contents if c.channel == channel}
    parts = locale.lower().split("-")
    for length in range(len(parts), 0, -1):
        found = by_locale.get("-".join(parts[:length]))
        if found is not None:
            return found
    return by_locale.get(template.default_locale.lower())


def _has_free_range(parsed: BoundTemplate) -> bool:
    """Whether a range stands where no bound on loops watches it: `(1..n) contains x` takes n."""
    context = RenderContext(parsed)
    nodes = list(parsed.nodes)
    while nodes:
        node = nodes.pop()
        if any(_has_range(expression) for expression in node.expressions()):
            return True
        nodes.extend(node.children(context))
    return False


def _has_range(expression: Expression) -> bool:
    inner: Iterable[Expression] = expression.children()
    if isinstance(expression, LoopExpression) and isinstance(expression.iterable, RangeLiteral):
        inner = [one for one in inner if one is not expression.iterable]
    elif isinstance(expression, RangeLiteral):
        return True
    return any(_has_range(one) for one in inner)


def _run(field: str, parsed: BoundTemplate, values: Mapping[str, Any]) -> str:
    token = liquid_filters.budget.set([liquid_filters.WORK_MAX])
    try:
        return parsed.render(**values)
    except LiquidError as error:
        raise RenderFailed(f"{field}: {_told(error)}") from None
    except (RecursionError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise RenderFailed(f"{field}: {type(error).__name__}") from error
    finally:
        liquid_filters.budget.reset(token)


def _told(error: LiquidError) -> str:
    # The message alone: str(error) may quote the source, with values in it.
    return str(error.args[0])[:200] if error.args else type(error).__name__
