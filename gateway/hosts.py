"""Writing hosts and certificates: their secrets are sealed, and they must fit one another."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING, Final

from gateway.identity.seal import is_sealed
from gateway.model import Certificate, Host, OidcLogin, client_secret_of, cookie_secret_of
from gateway.validation.certificate import check_pair, covers
from gateway.validation.checks import refuse
from meshkit.errors import FailedPrecondition, MeshError


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from gateway.identity.seal import Seal
    from gateway.model import Object
    from gateway.store.catalog import Change, Stored


CLIENT_SECRET_LENGTH_MAX: Final = 1_000
COOKIE_SECRET_BYTES: Final = 32


def prepared(seal: Seal, before: Stored | None, value: Object, now: datetime) -> Object:
    """
    Return *value* as it is to be stored: with its secret sealed, or the one that is there.

    The same secret as before stays sealed as it is, so that it makes no change.

    Raises:
        InvalidInput: INVALID_OBJECT: not a certificate with its key, or an ended one; a sign-in
            without a secret.
        FailedPrecondition: SECRET_SEALED.

    """
    old = before.value if before else None
    if isinstance(value, Certificate):
        return _certificate(seal, old if isinstance(old, Certificate) else None, value, now)
    if isinstance(value, Host) and value.login is not None:
        before_it = old.login if isinstance(old, Host) else None
        return dataclasses.replace(value, login=_login(seal, value.name, before_it, value.login))
    return value


def _login(seal: Seal, host: str, old: OidcLogin | None, value: OidcLogin) -> OidcLogin:
    """
    Return a sign-in with its secrets sealed.

    What its cookies are sealed with stays as long as the generation of its sessions does. That of
    an earlier revision never comes back: what was ended stays so.
    """
    given, belongs_to = value.client_secret, client_secret_of(host)
    problem = ""
    if not is_sealed(given) and len(given) > CLIENT_SECRET_LENGTH_MAX:
        problem = f"longer than {CLIENT_SECRET_LENGTH_MAX} characters"
    client = _sealed(seal, belongs_to, given, old.client_secret if old else "")
    if not client:
        problem = "is required"
    refuse({"login.client_secret": problem} if problem else {}, "INVALID_OBJECT", "host")
    if old is not None and old.session_generation == value.session_generation:
        cookies = old.cookie_secret
    else:
        cookies = seal.seal(secrets.token_urlsafe(COOKIE_SECRET_BYTES), cookie_secret_of(host))
    return dataclasses.replace(value, client_secret=client, cookie_secret=cookies)


def _certificate(
    seal: Seal, old: Certificate | None, value: Certificate, now: datetime
) -> Certificate:
    sealed = _sealed(seal, value.name, value.private_key_pem, old.private_key_pem if old else "")
    if old is not None and (old.chain_pem, old.private_key_pem) == (value.chain_pem, sealed):
        # Checked when it came; that it has ended since must not stand in the way of other changes.
        domains, expire_time = old.domains, old.expire_time
    else:
        facts = check_pair(value.chain_pem, seal.open(sealed, value.name) if sealed else "", now)
        domains, expire_time = facts.domains, facts.expire_time
    return dataclasses.replace(
        value, private_key_pem=sealed, domains=domains, expire_time=expire_time
    )


def _sealed(seal: Seal, name: str, given: str, kept: str) -> str:
    """Return the secret *given*, sealed; *kept* if it is the same or none was given."""
    if not given:
        return kept
    if is_sealed(given):  # From an earlier revision.
        seal.open(given, name)
        return given
    if kept and _opened(seal, kept, name) == given:
        return kept
    return seal.seal(given, name)


def _opened(seal: Seal, sealed: str, name: str) -> str | None:
    try:
        return seal.open(sealed, name)
    except MeshError:
        return None


async def check_fits(change: Change, after: Mapping[str, Stored | None]) -> None:
    """
    Refuse a catalog in which hosts share a domain, or show a certificate that isn't for them.

    Args:
        after: What was changed, by name; None: deleted.

    Raises:
        FailedPrecondition: DOMAIN_TAKEN, CERTIFICATE_MISFIT.

    """
    hosts = [one.value for one in after.values() if one and isinstance(one.value, Host)]
    for host in hosts:
        taken = await change.claiming(host.domains, but=host.name)
        if taken:
            domain, owner = taken[0]
            raise FailedPrecondition(
                "DOMAIN_TAKEN",
                f"{domain} is a domain of {owner}; take it from there first, or with this.",
                domain=domain,
                host=owner,
            )
    async for host in _showing(change, hosts, after):
        await _check_covered(change, host)


async def _showing(
    change: Change, hosts: list[Host], after: Mapping[str, Stored | None]
) -> AsyncIterator[Host]:
    """Yield the hosts that show a certificate, where either of them was changed."""
    seen = set()
    for host in hosts:
        seen.add(host.name)
        if host.certificate:
            yield host
    for name, stored in after.items():
        if stored is None or not isinstance(stored.value, Certificate):
            continue
        for other in await change.referring(name):
            found = await change.get(other)
            if other not in seen and found is not None and isinstance(found.value, Host):
                seen.add(other)
                yield found.value


async def _check_covered(change: Change, host: Host) -> None:
    found = await change.get(host.certificate)
    if found is None or not isinstance(found.value, Certificate):
        return  # Told as a reference to nothing.
    bare = [one for one in host.domains if not covers(found.value.domains, one)]
    if bare:
        raise FailedPrecondition(
            "CERTIFICATE_MISFIT",
            f"{host.certificate} isn't good for {bare[0]}, a domain of {host.name}.",
            certificate=host.certificate,
            domain=bare[0],
            host=host.name,
        )
