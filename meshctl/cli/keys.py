"""The verbs `key` and `revoke`: API keys, and tokens that shall be good no more."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.gateway.v1 import key_service_pb2 as rpc
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.catalog import as_dict, pages
from meshctl.cli.context import Context, as_json, show_json, show_table


PAGE_SIZE = 200
DAYS_MAX = 730


@click.group()
def key() -> None:
    """Make, list and revoke API keys: signed tokens with a long life, sent as x-api-key."""


@key.command()
@click.option("--subject", required=True, help="Whom calls with it are from, as services/shop.")
@click.option("--role", "roles", multiple=True, required=True, help="Repeatable.")
@click.option("--tenant", default="", help="Its tenant.")
@click.option("--scope", "scopes", multiple=True, help="OAuth scope, for policies. Repeatable.")
@click.option("--description", default="", help="For people.")
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=90,
    show_default=True,
    help="How long it is good.",
)
@as_json
@click.pass_obj
def create(
    context: Context,
    /,
    *,
    subject: str,
    roles: tuple[str, ...],
    tenant: str,
    scopes: tuple[str, ...],
    description: str,
    days: int,
    wants_json: bool,
) -> None:
    """Make a key and print its text: it is shown this once, and stored nowhere."""
    made = rpc.ApiKey(
        subject=subject, roles=roles, tenant=tenant, scopes=scopes, description=description
    )
    made.expire_time.GetCurrentTime()
    made.expire_time.seconds += days * 86_400
    request = rpc.CreateKeyRequest(key=made)
    answer = context.ask(lambda admin: admin.keys.CreateKey(request, timeout=CALL_TIMEOUT_S))
    if wants_json:
        show_json(as_dict(answer))
        return
    click.echo(answer.text)
    until = answer.key.expire_time.ToDatetime().strftime("%Y-%m-%d")
    click.echo(f"{answer.key.name}, good until {until}; nobody can read it again.", err=True)


@key.command("list")
@click.option("--subject", default="", help="Only this one's.")
@as_json
@click.pass_obj
def list_keys(context: Context, /, *, subject: str, wants_json: bool) -> None:
    """List keys without their texts, the newest first."""

    async def ask(admin: Admin) -> list[Any]:
        async def fetch(token: str) -> tuple[list[Any], str]:
            request = rpc.ListApiKeysRequest(subject=subject, page_size=PAGE_SIZE, page_token=token)
            answer = await admin.keys.ListApiKeys(request, timeout=CALL_TIMEOUT_S)
            return list(answer.keys), answer.next_page_token

        return [one async for one in pages(fetch)]

    found = context.ask(ask)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("There is no key.")
        return
    rows = [
        {
            "id": one.name.removeprefix("apiKeys/"),
            "subject": one.subject,
            "tenant": one.tenant,
            "roles": ", ".join(one.roles),
            "good_until": one.expire_time.ToDatetime().strftime("%Y-%m-%d"),
            "": "revoked" if one.HasField("revoke_time") else "",
            "description": one.description,
        }
        for one in found
    ]
    show_table(rows, ("id", "subject", "tenant", "roles", "good_until", "", "description"))


@key.command("revoke")
@click.argument("key_id")
@click.option("--reason", default="", help="Why, for people.")
@as_json
@click.pass_obj
def revoke_key(context: Context, /, *, key_id: str, reason: str, wants_json: bool) -> None:
    """Make the key KEY_ID good no more, at every edge at once."""
    _revoke(context, key_id.removeprefix("apiKeys/"), reason, wants_json=wants_json)


@click.command()
@click.argument("token_id")
@click.option("--reason", default="", help="Why, for people.")
@as_json
@click.pass_obj
def revoke(context: Context, /, *, token_id: str, reason: str, wants_json: bool) -> None:
    """Make the token TOKEN_ID, its jti, good no more, at every edge at once."""
    _revoke(context, token_id, reason, wants_json=wants_json)


def _revoke(context: Context, token_id: str, reason: str, *, wants_json: bool) -> None:
    request = rpc.RevokeTokenRequest(token_id=token_id, reason=reason)
    answer = context.ask(lambda admin: admin.keys.RevokeToken(request, timeout=CALL_TIMEOUT_S))
    made = answer.revocation
    if wants_json:
        show_json(as_dict(made))
        return
    until = made.expire_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    click.echo(f"{made.token_id} is revoked; remembered until {until}.")
