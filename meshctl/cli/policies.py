"""The verb `policies`: what policies in shadow mode would have done."""

from __future__ import annotations

import click

from aerofusion.gateway.v1 import policy_service_pb2 as rpc
from aerofusion.gateway.v1.policy_pb2 import Policy
from meshctl.admin import CALL_TIMEOUT_S
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table


@click.command()
@click.argument("name", default="")
@as_json
@click.pass_obj
def policies(context: Context, /, *, name: str, wants_json: bool) -> None:
    """
    Show what policies in shadow mode would have refused and let through, at each edge.

    NAME is one policy, or all. The row without one is of all ALLOW policies, as if those in shadow
    mode decided, too: that none of them matches a call is no single one's doing. A few seconds
    late, and since the edge's relay started.
    """
    full = f"policies/{name.removeprefix('policies/')}" if name else ""
    request = rpc.GetPolicyUsageRequest(policy=full)
    answer = context.ask(
        lambda admin: admin.policies.GetPolicyUsage(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"usages": [], **as_dict(answer)})
        return
    rows = [
        {
            "policy": usage.policy.removeprefix("policies/") or "(every ALLOW)",
            "does": Policy.Action.Name(usage.action).removeprefix("ACTION_").lower(),
            "now": "in shadow" if usage.shadow or not usage.policy else "decides",
            "at": usage.edge,
            "would have refused": usage.would_have_refused,
            "would have allowed": usage.would_have_allowed,
        }
        for usage in answer.usages
    ]
    if not rows:
        click.echo("Nothing has been counted of policies in shadow mode.")
        return
    show_table(rows, list(rows[0]))
