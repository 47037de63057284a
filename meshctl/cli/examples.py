"""An example of each verb, shown below its help."""

from __future__ import annotations

import click


EXAMPLES = {
    "up": ["up --detach", "up --no-demo --port-edge 8443"],
    "down": ["down"],
    "status": ["status", "status --json"],
    "restart": ["restart notifier"],
    "logs": ["logs gateway"],
    "demo": ["demo --help"],
    "apply": [
        "apply -f shop.yaml",
        "apply -f gateway/ --prune hosts/ --preflight",
        "apply -f shop.yaml --canary 10% --bake 5m",
        "export services/shop | sed s/5s/2s/ | meshctl apply -f - --yes",
    ],
    "plan": [
        "plan -f gateway/ --prune hosts/",
        "plan -f gateway/ --exit-code    # has somebody changed something by hand?",
    ],
    "diff": ["diff", "diff 12", "diff 12 15"],
    "export": ["export > gateway.yaml", "export services/ --to gateway/"],
    "get": ["get services/notifier", "get services/notifier --revision 12"],
    "list": ["list", "list services/notifier/routes/"],
    "delete": ["delete services/shop/routes/canary"],
    "history": ["history", "history services/notifier --limit 5"],
    "rollback": ["history", "rollback 41"],
    "watch": ["watch", "watch 42"],
    "edges": ["edges"],
    "limits": ["limits", "limits each-tenant --top 5", "limits --shadow"],
    "policies": ["policies", "policies no-passengers --json"],
    "deprecated": ["deprecated", "deprecated flights --since 168h --per 24h"],
    "search": [
        'search \'{service="edge"} |= "upstream" | http.response.status_code>=500\' --since 15m',
        "search '| trace_id=0af7651916cd43dd8448eb211c80319c'",
    ],
    "tail": ["tail", "tail '{service=~\"edge|notifier\"} | severity>=warn'"],
    "patterns": ["patterns '| severity>=error' --since 24h"],
    "traces": [
        "traces '{service=\"edge\"} | status=error or duration>250ms' --since 15m",
        "traces '{name=~\".*Notif.*\", kind=server}' --top 5 --json",
    ],
    "map": ["map", "map notifier --since 24h --json"],
    "trace": ["trace 0af7651916cd43dd8448eb211c80319c"],
    "platform": ["platform", "platform --last 24h --json"],
    "dashboard list": ["dashboard list"],
    "dashboard show": ["dashboard show hosts", "dashboard show edge --var service=notifier -f"],
    "dashboard import": ["dashboard import grafana.json --dry-run"],
    "dashboard history": ["dashboard history edge"],
    "backup": ["backup"],
    "backups": ["backups --json"],
    "forecast": [
        "forecast 'sum(rate(edge_service_requests_total[5m]))' --ahead 48h --season 24h",
        "forecast 'sum(system_filesystem_usage_bytes)' --ahead 672h --threshold 1e12",
    ],
    "sizes": ["sizes", "sizes notifier syncd --ahead 672h --json"],
    "service list": ["service list"],
    "service get": ["service get notifier"],
    "service create": ["service create shop --endpoint 192.0.2.7:8443 --grpc-service shop.v1.Shop"],
    "service update": ["service update shop --rate-limit 100:50"],
    "service delete": ["service delete shop --force"],
    "service history": ["service history notifier"],
    "route list": ["route list notifier"],
    "route get": ["route get notifier/canary"],
    "route create": [
        "route create shop/canary --match-service shop.v1.Shop --to shop:90 --to next:10"
    ],
    "route update": ["route update shop/canary --to shop:50 --to next:50"],
    "route delete": ["route delete shop/canary"],
    "route history": ["route history shop/canary"],
    "explain": [
        "explain /aerofusion.notify.v1.InboxService/MarkRead",
        'explain /notify/v1/messages -X GET --claims \'{"roles": ["passenger"]}\'',
        "explain --log-line - < record.json",
    ],
    "token": ["token --subject operators/me --role operator"],
    "key create": ["key create --subject services/shop --role service --days 30"],
    "key list": ["key list --subject services/shop"],
    "key revoke": ['key revoke 3f2a61c0 --reason "found in a log"'],
    "revoke": ['revoke 3f2a61c0 --reason "phone lost"'],
    "alerts list": ["alerts list", "alerts list --all severity=page"],
    "alerts ack": ['alerts ack 3f2a61c0 --comment "on it"'],
    "alerts silence": ['alerts silence --for 2h --comment "works" alertname=QueueLong'],
    "alerts silences": ["alerts silences"],
    "alerts expire": ["alerts expire 0192f3a8-7c5e-7f3a-9d4b-2b1f0c9e8d7a"],
    "alerts watch": ["alerts watch severity=page"],
    "alerts rules list": ["alerts rules list"],
    "alerts rules apply": [
        "alerts rules apply -f rules.yaml",
        "alerts rules apply -f rules.yaml --prune --dry-run",
    ],
    "alerts rules export": [
        "alerts rules export > rules.yaml",
        "alerts rules export mesh-edge --plain | promtool check rules",
    ],
    "alerts rules delete": ["alerts rules delete queues"],
    "alerts rules try": ["alerts rules try 'up == 0' --hold 30s --last 168h"],
    "alerts routing show": ["alerts routing show > routing.json"],
    "alerts routing apply": ["alerts routing apply -f routing.json"],
    "alerts oncall": ["alerts oncall ops"],
    "incidents list": ["incidents list", "incidents list --all --json"],
    "incidents show": ["incidents show 2b1f0c9e8d7a"],
    "incidents ack": ['incidents ack 2b1f0c9e8d7a --comment "on it"'],
    "incidents note": ['incidents note 2b1f0c9e8d7a "rolled back to 41"'],
    "objectives list": ["objectives list"],
    "objectives show": ["objectives show edge-availability"],
    "objectives apply": ["objectives apply -f objectives.yaml"],
    "objectives delete": ["objectives delete edge-availability"],
    "completion": [
        "completion bash > ~/.local/share/bash-completion/completions/meshctl",
        "completion zsh > ~/.zfunc/_meshctl",
        "completion fish > ~/.config/fish/completions/meshctl.fish",
    ],
}
"""Words of a verb to what may be typed after `meshctl`."""


def show_examples(command: click.Command, words: str) -> None:
    """Have the help of *command*, and of the verbs in it, end with their examples."""
    lines = EXAMPLES.get(words)
    if lines is not None:
        # The backspace keeps click from filling the lines.
        command.epilog = "\n".join(["\b", "Examples:", *(f"  meshctl {line}" for line in lines)])
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            show_examples(inner, f"{words} {name}")
