"""The router: where a request goes, how long it may take, and who could answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import re2

from gateway.explain.configuration import Configuration
from gateway.explain.exchange import Exchange
from gateway.explain.filters import append
from gateway.explain.steps import (
    Answer,
    Candidate,
    EndpointCandidate,
    NotModelled,
    Verdict,
    only,
)
from gateway.explain.table import object_of


_NOT_FOUND_STATUS = (503, 404, 500)  # ClusterNotFoundResponseCode
_REDIRECTS = (301, 302, 303, 307, 308)  # RedirectResponseCode
_BREAKERS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_HEALTH = ("unknown", "healthy", "unhealthy", "draining", "timeout", "degraded")
_WELL = frozenset({"unknown", "healthy"})
_PANIC_BELOW = 50.0  # Percent; Envoy's default healthy_panic_threshold.


def router(exchange: Exchange, name: str, config: Any) -> None:
    """Send the request on, or answer as the route says."""
    only(config, "suppress_envoy_headers", "dynamic_stats", "start_child_span")
    route = exchange.found.route
    if route is None:
        exchange.step("filter", name, Verdict.REFUSED, "There is no route.")
        exchange.refuse(404, "route_not_found", flags="NR")
        return
    only(
        route,
        *("match", "name", "route", "redirect", "direct_response", "metadata", "decorator"),
        *("typed_per_filter_config", "tracing", "stat_prefix", "per_request_buffer_limit_bytes"),
        *("request_headers_to_add", "request_headers_to_remove"),
        *("response_headers_to_add", "response_headers_to_remove", "request_body_buffer_limit"),
    )
    given = {
        "resource": ("RDS", exchange.found.table.name),
        "object": object_of(route),
    }
    kind = route.WhichOneof("action")
    if kind == "direct_response":
        status = route.direct_response.status
        verdict = Verdict.ANSWERED if status < 400 else Verdict.REFUSED
        says = f"The route answers {status} by itself."
        exchange.step("filter", name, verdict, says, **given)
        text = route.direct_response.body.inline_string
        exchange.refuse(status, "direct_response", body=bool(text))
    elif kind == "redirect":
        status = _REDIRECTS[route.redirect.response_code]
        says = f"The route sends the caller elsewhere with {status}."
        exchange.step("filter", name, Verdict.ANSWERED, says, **given)
        exchange.refuse(status, "direct_response", body=False)
    elif kind == "route":
        _forward(exchange, name, route, given)
    else:
        raise NotModelled(f"Route.{kind}")


def _forward(exchange: Exchange, name: str, route: Any, given: dict[str, Any]) -> None:
    action = route.route
    only(
        action,
        *("cluster", "weighted_clusters", "timeout", "retry_policy", "hash_policy", "priority"),
        *("cluster_not_found_response_code", "idle_timeout", "max_stream_duration"),
        *("hedge_policy", "request_mirror_policies", "upgrade_configs", "rate_limits"),
        *("prefix_rewrite", "regex_rewrite", "host_rewrite_literal", "include_vh_rate_limits"),
        *("append_x_forwarded_host", "flush_timeout", "auto_host_rewrite"),
        "internal_redirect_policy",
    )
    for holder in exchange.found.holders[::-1]:
        for option in holder.request_headers_to_add:
            append(exchange, option)
    _rewrite(exchange, route)
    facts = tuple(times(action))
    says = "It is sent on" + ("" if not facts else f", with {_listed(facts)}") + "."
    exchange.step("filter", name, Verdict.PASSED, says, facts=facts, **given)
    exchange.answer = None
    clusters(exchange, action)


def _rewrite(exchange: Exchange, route: Any) -> None:
    """Make path and host what the service is to see."""
    action, headers = route.route, exchange.headers
    path, mark, query = headers.path.partition("?")
    if action.prefix_rewrite:
        kind = route.match.WhichOneof("path_specifier")
        matched = path if kind == "safe_regex" else getattr(route.match, kind)
        path = action.prefix_rewrite + path[len(matched) :]
    elif action.HasField("regex_rewrite"):
        pattern = action.regex_rewrite.pattern.regex
        path = re2.sub(pattern, action.regex_rewrite.substitution, path)
    headers.set(":path", path + mark + query)
    if action.host_rewrite_literal:
        headers.set(":authority", action.host_rewrite_literal)


def _listed(facts: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts)


def shares(action: Any, random: int | None) -> list[Candidate]:
    """Return the clusters a route may send to; with a random value the one it is."""
    if action.WhichOneof("cluster_specifier") == "cluster":
        return [Candidate(cluster=action.cluster, share=1.0, chosen=True)]
    weighted = action.weighted_clusters
    only(weighted, "clusters", "total_weight", "runtime_key_prefix", "random_value_specifier")
    whole = sum(one.weight.value for one in weighted.clusters)
    made = []
    begin = 0
    for one in weighted.clusters:
        only(one, "name", "weight")
        end = begin + one.weight.value
        chosen = random is not None and whole > 0 and begin <= random % whole < end
        made.append(Candidate(cluster=one.name, share=one.weight.value / whole, chosen=chosen))
        begin = end
    return made


def clusters(exchange: Exchange, action: Any) -> None:
    """Note where the request may go, and the answer if nobody is there."""
    candidates = exchange.candidates = shares(action, exchange.call.random)
    chosen = [one for one in candidates if one.chosen] or [one for one in candidates if one.share]
    missing = _NOT_FOUND_STATUS[action.cluster_not_found_response_code]
    outcomes = [_cluster(exchange, one, missing) for one in chosen]
    if all(outcome is None for outcome in outcomes):
        exchange.answer = Answer(http_status=None, by="service")
    elif all(outcome == outcomes[0] for outcome in outcomes):
        status, details, flags = outcomes[0] or (503, "", "")
        exchange.refuse(status, details, flags=flags)
    else:
        exchange.step(
            "cluster",
            "",
            Verdict.DEPENDS,
            "Which answer it gets depends on the one it is given to.",
        )
        exchange.answer = Answer(http_status=None, by="nobody")


def _cluster(exchange: Exchange, candidate: Candidate, missing: int) -> tuple[int, str, str] | None:
    """Return how a request to a cluster fails; None: it doesn't."""
    name = candidate.cluster
    given = {"resource": ("CDS", name), "object": name if "/" in name else ""}
    share = "" if candidate.share == 1.0 else f" {candidate.share:.1%} of the requests go here."
    cluster = exchange.configuration.get("CDS", name)
    if cluster is None:
        exchange.step(
            "cluster", name, Verdict.REFUSED, f"There is no such cluster.{share}", **given
        )
        return missing, "cluster_not_found", "NC"
    found = endpoints(exchange.configuration, name, cluster)
    able = [one for one in found if one.eligible]
    facts = tuple(_breakers(cluster))
    if not able:
        says = f"It has no endpoint.{share}"
        exchange.step("cluster", name, Verdict.REFUSED, says, facts=facts, **given)
        return 503, "no_healthy_upstream", "UH"
    well = sum(one.health in _WELL for one in found)
    says = f"{well} of {len(found)} endpoints are well.{share}"
    if not any(one.health in _WELL for one in able):
        says += " So few are well that all of them get calls."
    exchange.step("cluster", name, Verdict.CHOSEN, says, facts=facts, **given)
    return None


def endpoints(
    configuration: Configuration, name: str, cluster: Any
) -> tuple[EndpointCandidate, ...]:
    """Return a cluster's endpoints, and which of them get calls."""
    if cluster.HasField("load_assignment"):
        assignment = cluster.load_assignment
    else:
        assignment = configuration.get("EDS", cluster.eds_cluster_config.service_name or name)
    rows = [
        (group, one)
        for group in (assignment.endpoints if assignment is not None else ())
        for one in group.lb_endpoints
    ]
    levels: dict[int, list[str]] = {}
    for group, one in rows:
        levels.setdefault(group.priority, []).append(_HEALTH[one.health_status])
    threshold = _panic_threshold(cluster)
    well = {p: sum(h in _WELL for h in states) for p, states in levels.items()}
    first = next((p for p in sorted(levels) if well[p]), -1)
    panics = first >= 0 and 100 * well[first] / len(levels[first]) < threshold
    return tuple(
        EndpointCandidate(
            address=_address(one.endpoint.address),
            health=(health := _HEALTH[one.health_status]),
            weight=one.load_balancing_weight.value or 1,
            locality="/".join(
                part
                for part in (group.locality.region, group.locality.zone, group.locality.sub_zone)
                if part
            ),
            priority=group.priority,
            eligible=(
                (first < 0 and threshold > 0)
                or (first == group.priority and (panics or health in _WELL))
            ),
        )
        for group, one in rows
    )


def _panic_threshold(cluster: Any) -> float:
    if cluster.common_lb_config.HasField("healthy_panic_threshold"):
        return float(cluster.common_lb_config.healthy_panic_threshold.value)
    return _PANIC_BELOW


def _address(address: Any) -> str:
    if address.WhichOneof("address") == "pipe":
        return f"unix:{address.pipe.path}"
    found = address.socket_address
    host = f"[{found.address}]" if ":" in found.address else found.address
    return f"{host}:{found.port_value}"


def times(action: Any) -> Sequence[tuple[str, str]]:
    """Return the limits and the retries that hold for a route."""
    found = []
    if action.HasField("timeout") and _seconds(action.timeout):
        found.append(("timeout", _said(action.timeout)))
    longest = action.max_stream_duration
    if longest.HasField("max_stream_duration") and _seconds(longest.max_stream_duration):
        found.append(("longest_duration", _said(longest.max_stream_duration)))
    if action.HasField("idle_timeout"):
        found.append(("idle_timeout", _said(action.idle_timeout)))
    if action.HasField("retry_policy"):
        policy = action.retry_policy
        found += [("retries", str(policy.num_retries.value)), ("retry_on", policy.retry_on)]
        if policy.HasField("per_try_timeout"):
            found.append(("per_try_timeout", _said(policy.per_try_timeout)))
    found += [("copied_to", one.cluster) for one in action.request_mirror_policies]
    return found


def _breakers(cluster: Any) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for one in cluster.circuit_breakers.thresholds:
        found += [(name, str(getattr(one, name).value)) for name in _BREAKERS if one.HasField(name)]
    if cluster.health_checks:
        found.append(("health_checks", "by each edge"))
    if cluster.HasField("outlier_detection"):
        found.append(("outlier_detection", "by each edge"))
    return found


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _said(duration: Any) -> str:
    return f"{_seconds(duration):g} s"
