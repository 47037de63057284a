"""
The filters templates may use: Liquid's harmless ones, each with a bound on its work.

A filter can grow a text a thousandfold in one step (`replace`) or double it at
each turn of a loop (`append`), and Liquid's own limits see neither. So every call
pays for what it reads and makes, out of the rendering's budget.
"""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from liquid.exceptions import FilterArgumentError, ResourceLimitError
from liquid.filter import with_context
from liquid.undefined import is_undefined


if TYPE_CHECKING:
    from liquid import Environment, RenderContext

ALLOWED = [
    "abs",
    "at_least",
    "at_most",
    "append",
    "capitalize",
    "ceil",
    "compact",
    "concat",
    "default",
    "divided_by",
    "downcase",
    "escape",
    "first",
    "floor",
    "join",
    "last",
    "lstrip",
    "minus",
    "modulo",
    "newline_to_br",
    "plus",
    "prepend",
    "remove",
    "remove_first",
    "replace",
    "replace_first",
    "reverse",
    "round",
    "rstrip",
    "size",
    "slice",
    "sort",
    "split",
    "strip",
    "strip_newlines",
    "times",
    "truncate",
    "truncatewords",
    "uniq",
    "upcase",
    "url_encode",
    "where",
    "map",
    "sum",
]
"""
Left out on purpose: `safe`, `escape_once`, `strip_html` and the base64 ones get unescaped
text into HTML; Liquid's own `date` takes any strftime format, which can be told to fill memory.
"""

WORK_MAX = 1_000_000
"""Characters that the filters of one rendering may read and write in all."""

NUMBER_MAX = 10**15
DATE_FORMAT = re.compile(r"(?:[^%]|%[-]?[YmdHMSyjaAbBpIeZz%])*")
DATE_FORMAT_MAX = 100

budget: contextvars.ContextVar[list[int]] = contextvars.ContextVar("budget")


def install(environment: Environment) -> None:
    """Leave only the allowed filters in *environment*, each one bounded."""
    known = dict(environment.filters)
    environment.filters.clear()
    for name in ALLOWED:
        environment.add_filter(name, _bounded(name, known[name]))
    environment.add_filter("date", _bounded("date", date))


@with_context
def date(value: object, form: object, zone: object = "", *, context: RenderContext) -> str:
    """
    Return RFC 3339 text *value* as local time in the form of strftime, such as `%H:%M`.

    The zone is *zone* (IANA), else the recipient's.
    """
    if not isinstance(form, str) or len(form) > DATE_FORMAT_MAX or not DATE_FORMAT.fullmatch(form):
        raise FilterArgumentError("date: not a format, or not an allowed one", token=None)
    if not zone:
        recipient = context.resolve("recipient", default=None)
        zone = recipient.get("time_zone") if isinstance(recipient, Mapping) else "UTC"
    try:
        moment = datetime.fromisoformat(str(value))
        local = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return local.astimezone(ZoneInfo(str(zone or "UTC"))).strftime(form)
    except (ValueError, KeyError, OSError, OverflowError):
        raise FilterArgumentError("date: not a time, or not a time zone", token=None) from None


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(value: Any, *args: Any, **kwargs: Any) -> Any:
        left = budget.get()
        left[0] -= _foreseen(name, value, args)
        if left[0] < 0:
            raise ResourceLimitError("the template's filters do too much work", token=None)
        result = function(value, *args, **kwargs)
        if isinstance(result, int | float) and abs(result) > NUMBER_MAX:
            raise ResourceLimitError("number out of range", token=None)
        left[0] -= _size(result)
        if left[0] < 0:
            raise ResourceLimitError("the template's filters do too much work", token=None)
        return result

    return call


def _foreseen(name: str, value: Any, args: tuple[Any, ...]) -> int:
    """Return a bound on what the call will read and make, before it is made."""
    size = _size(value) + sum(_size(arg) for arg in args)
    if name == "replace" and len(args) == 2:
        made = _size(value) * (1 + _size(args[1]))
        return size + (made if args[0] == "" else made // max(1, _size(args[0])))
    if name in ("join", "newline_to_br"):
        return size + _length(value) * (sum(_size(arg) for arg in args) + 6)
    if name in ("slice", "truncate", "truncatewords", "round"):
        return size + sum(_size(str(arg)) for arg in args)
    return size


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | Sequence) else 1


def _size(value: Any, depth: int = 0) -> int:
    if is_undefined(value):
        return 1
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, range):
        return 8 * len(value)  # Not to be walked through: `(1..1000000000)` is cheap to write.
    if depth < 10 and isinstance(value, Mapping):
        return 1 + sum(_size(k) + _size(v, depth + 1) for k, v in value.items())
    if depth < 10 and isinstance(value, Sequence):
        return 1 + sum(_size(item, depth + 1) for item in value)
    return 8
