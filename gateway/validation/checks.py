"""What the checks of all kinds share: names, problems and how they are told."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509

from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import (
        Access,
        Destination,
        HeaderChanges,
        HeaderMatch,
        Mirror,
        QueryMatch,
        Retry,
    )

ROLES_MAX: Final = 16
HEADERS_MAX: Final = 16
DESTINATIONS_MAX: Final = 16
MIRRORS_MAX: Final = 4
DESCRIPTION_LENGTH_MAX: Final = 500
HEADER_VALUE_LENGTH_MAX: Final = 1_000
REQUEST_ID_LENGTH_MAX: Final = 64
PEM_LENGTH_MAX: Final = 64 * 1024
PATH_LENGTH_MAX: Final = 500
CALL_TIMEOUT: Final = (timedelta(milliseconds=1), timedelta(hours=1))

ID: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
RESERVED_HEADERS: Final = ("x-aerofusion-", "x-envoy-", ":")
CONNECTION_HEADERS: Final = frozenset(
    {
        *("connection", "content-length", "host", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""They are about the message on one connection (RFC 9110, 7.6.1): the edge writes its own."""

CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
VALUE: Final = re.compile(r"[\x20-\x24\x26-\x7e]*")
HEADER: Final = re.compile(r"[a-z0-9!#$%&'*+.^`|~-]{1,100}")
ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
GRPC_SERVICE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
GRPC_METHOD: Final = re.compile(r"[A-Za-z_]\w{0,199}")

_PATH = re.compile(r"/[\x21-\x22\x24\x26-\x3e\x40-\x7e]*")
"""Without `#`, `%` and `?`."""

_ODD_PATH = re.compile(r"//|/\.{1,2}(/|$)")
"""What normalisation takes away: nothing would ever match it."""

Problems = dict[str, str]
"""Path of a field to what is wrong with it."""


def service_name(service_id: str) -> str:
    """
    Return the name of the service with this id.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    return checked_service_name(f"services/{service_id}")


def checked_service_name(name: str) -> str:
    """
    Return *name* if it is the name of a service.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    prefix, _, service_id = name.partition("/")
    if prefix != "services" or not ID.fullmatch(service_id):
        raise invalid_name(name, "services/{service}")
    return name


def checked_route_name(name: str) -> str:
    """
    Return *name* if it is the name of a route.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    parts = name.split("/")
    ids = parts[1::2]
    if parts[::2] != ["services", "routes"] or not all(ID.fullmatch(one) for one in ids):
        raise invalid_name(name, "services/{service}/routes/{route}")
    return name


def checked_request_id(request_id: str) -> str:
    """
    Return *request_id* if it is short enough.

    Raises:
        InvalidInput: INVALID_REQUESTID.

    """
    if len(request_id) > REQUEST_ID_LENGTH_MAX:
        raise InvalidInput(
            "INVALID_REQUEST_ID",
            f"A request_id has at most {REQUEST_ID_LENGTH_MAX} characters.",
            field_violations={"request_id": "too long"},
        )
    return request_id


def length(problems: Problems, path: str, text: str, most: int) -> None:
    """Note a text that is too long."""
    if len(text) > most:
        problems[path] = f"longer than {most} characters"


def count(problems: Problems, path: str, items: tuple[object, ...], most: int) -> None:
    """Note a list that is too long or repeats itself."""
    if len(items) > most:
        problems[path] = f"more than {most}"
    elif len(set(items)) != len(items):
        problems[path] = "one is there twice"


def each(
    problems: Problems, path: str, items: Iterable[str], form: re.Pattern[str], complaint: str
) -> None:
    """Note items that don't have the form."""
    for number, item in enumerate(items):
        if not form.fullmatch(item) or len(item) > 200:
            problems[f"{path}[{number}]"] = complaint


def between(
    problems: Problems, path: str, value: timedelta, bounds: tuple[timedelta, timedelta]
) -> None:
    """Note a duration that is out of bounds."""
    least, most = bounds
    if not least <= value <= most:
        problems[path] = f"must be {least.total_seconds():g} to {most.total_seconds():g} s"


def check_path(problems: Problems, at: str, path: str | None) -> None:
    """Note what isn't a path that a request could have, without its query."""
    if path is None:
        return
    if not _PATH.fullmatch(path) or len(path) > PATH_LENGTH_MAX:
        problems[at] = "must begin with / and be a path, without a query"
    elif _ODD_PATH.search(path):
        problems[at] = "has //, /./ or /../, which the edge takes out of every path"


def refuse(problems: Problems, reason: str, root: str) -> None:
    """Raise INVALID_... with every problem, if there is any."""
    if not problems:
        return
    violations = {f"{root}.{path}": what for path, what in problems.items()}
    first = next(iter(violations.items()))
    raise InvalidInput(
        reason, f"The {root} can't be: {first[0]}: {first[1]}.", field_violations=violations
    )


def invalid_name(name: str, form: str) -> InvalidInput:
    """Return the error for a name of the wrong form."""
    return InvalidInput(
        "INVALID_NAME",
        f"A name here has the form {form}; an id is 1 to 40 of a-z, 0-9 and -.",
        field_violations={"name": f"not of the form {form}"},
        name=name[:200],
    )


def check_access(problems: Problems, path: str, access: Access) -> None:
    """Note what is wrong with who may call."""
    count(problems, f"{path}.roles", access.roles, ROLES_MAX)
    each(problems, f"{path}.roles", access.roles, ROLE, "not a role")
    if access.public and access.roles:
        problems[path] = "public and roles exclude each other"


def check_headers(problems: Problems, path: str, headers: Sequence[HeaderMatch]) -> None:
    """Note what is wrong with conditions on headers."""
    count(problems, path, tuple(headers), HEADERS_MAX)
    for number, header in enumerate(headers[:HEADERS_MAX]):
        at = f"{path}[{number}]"
        if not HEADER.fullmatch(header.name):
            problems[f"{at}.name"] = "not the lower-case name of a header"
        if CONTROL.search(header.exact or header.prefix or ""):
            problems[at] = "has a character that no header has"
        check_condition(problems, at, header)


def check_condition(problems: Problems, path: str, match: HeaderMatch | QueryMatch) -> None:
    """Note if a condition isn't exactly one."""
    given = [match.exact, match.prefix, match.present]
    if sum(one is not None for one in given) != 1 or match.prefix == "":
        problems[path] = "needs one condition"
    length(problems, path, match.exact or match.prefix or "", HEADER_VALUE_LENGTH_MAX)


def check_header_changes(problems: Problems, path: str, changes: HeaderChanges) -> None:
    """Note what is wrong with changes of headers."""
    count(problems, f"{path}.set", changes.set, HEADERS_MAX)
    count(problems, f"{path}.remove", changes.remove, HEADERS_MAX)
    named = [(f"{path}.set[{n}]", one.name) for n, one in enumerate(changes.set)]
    named += [(f"{path}.remove[{n}]", one) for n, one in enumerate(changes.remove)]
    for at, name in named:
        taken = name in CONNECTION_HEADERS or name.startswith(RESERVED_HEADERS)
        if not HEADER.fullmatch(name) or taken:
            problems[at] = "not a header that may be changed"
    for number, one in enumerate(changes.set):
        if len(one.value) > HEADER_VALUE_LENGTH_MAX or not VALUE.fullmatch(one.value):
            problems[f"{path}.set[{number}].value"] = "not a header's value, or with %"


def check_destinations(
    problems: Problems, path: str, destinations: Sequence[Destination], mirrors: Sequence[Mirror]
) -> None:
    """Note what is wrong with where calls and their copies go."""
    count(problems, path, tuple(destinations), DESTINATIONS_MAX)
    names = [destination.service for destination in destinations]
    if len(set(names)) != len(names):
        problems[path] = "one is there twice"
    for number, destination in enumerate(destinations[:DESTINATIONS_MAX]):
        check_name(problems, f"{path}[{number}].service", destination.service, "services")
        if not 0 <= destination.weight <= 10_000:
            problems[f"{path}[{number}].weight"] = "must be 0 to 10000"
    if len(names) > 1 and not any(destination.weight for destination in destinations):
        problems[path] = "none has a weight"
    count(problems, "mirrors", tuple(mirrors), MIRRORS_MAX)
    for number, mirror in enumerate(mirrors[:MIRRORS_MAX]):
        check_name(problems, f"mirrors[{number}].service", mirror.service, "services")
        if not 0 < mirror.percent <= 100:
            problems[f"mirrors[{number}].percent"] = "must be above 0, up to 100"


def check_retry(problems: Problems, path: str, retry: Retry | None) -> None:
    """Note what is wrong with a retry."""
    if retry is None:
        return
    if not 1 <= retry.attempts_max <= 5:
        problems[f"{path}.attempts_max"] = "must be 1 to 5"
    if retry.per_try_timeout is not None:
        between(problems, f"{path}.per_try_timeout", retry.per_try_timeout, CALL_TIMEOUT)
    elif retry.hedge:
        problems[f"{path}.hedge"] = "needs a per_try_timeout"


def check_name(problems: Problems, path: str, name: str, collection: str) -> None:
    """Note if *name* isn't the name of an object of *collection*."""
    prefix, _, own = name.partition("/")
    if prefix != collection or not ID.fullmatch(own):
        problems[path] = f"not a name of the form {collection}/..."


def within(problems: Problems, path: str, value: float, least: float, most: float) -> None:
    """Note if *value* is out of bounds."""
    if not least <= value <= most:
        problems[path] = f"must be {least:g} to {most:g}"


def check_chain(problems: Problems, path: str, pem: str) -> None:
    """Note if *pem* isn't a list of certificates."""
    if len(pem) > PEM_LENGTH_MAX:
        problems[path] = f"longer than {PEM_LENGTH_MAX} characters"
        return
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        problems[path] = "no certificates in PEM"
