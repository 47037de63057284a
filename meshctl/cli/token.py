"""The verb `token`."""

from __future__ import annotations

from datetime import timedelta

import click

from meshctl.cli.context import Context, as_json, show_json


ROLES = ("passenger", "service", "operator", "device")


@click.command()
@click.option("--subject", required=True, help="Whom it speaks for, such as passengers/p1.")
@click.option(
    "--role", "roles", type=click.Choice(ROLES), multiple=True, required=True, help="Repeatable."
)
@click.option("--tenant", default="", help="The tenant it is good for; only passengers need one.")
@click.option("--ttl", "ttl_s", default=3600, show_default=True, help="Seconds it works.")
@as_json
@click.pass_obj
def token(
    context: Context,
    /,
    *,
    subject: str,
    roles: tuple[str, ...],
    tenant: str,
    ttl_s: int,
    wants_json: bool,
) -> None:
    """Sign a token to call the edge with, and print it."""
    answer = context.ask(
        lambda admin: admin.token(
            subject=subject, tenant=tenant, roles=roles, ttl=timedelta(seconds=ttl_s)
        )
    )
    if wants_json:
        show_json(
            {
                "token": answer.token,
                "token_id": answer.token_id,
                "expire_time": answer.expire_time.ToJsonString(),
            }
        )
    else:
        click.echo(answer.token)
