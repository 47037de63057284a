"""Templates give what Go's text/template and Prometheus's functions give."""

import pytest

from telemetry.rules.template.functions import functions
from telemetry.rules.template.go import STEPS_MAX, Template, TemplateError


SAMPLES = [
    {"Labels": {"instance": "b:9100", "job": "node"}, "Value": 2.0},
    {"Labels": {"instance": "a:9100", "job": "node"}, "Value": 1.5},
]


def expand(text, value=0.5, query=lambda _: SAMPLES, **labels):
    variables = {
        "$": {"Labels": labels, "Value": value},
        "$labels": labels,
        "$value": value,
    }
    return Template(text).run(variables, functions(query=query, now=1_432_560_000.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain }} text", "plain }} text"),
        ("{{ $labels.job }} is {{ $value }}", "edge is 0.5"),
        ("{{ .Labels.job }} is {{ .Value }}", "edge is 0.5"),
        ("[{{ $labels.absent }}]", "[]"),
        ("a {{- /* no */ -}} b", "ab"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{ if gt $value 0.4 }}high{{ else }}low{{ end }}", "high"),
        ("{{ if gt $value 0.9 }}a{{ else if gt $value 0.4 }}b{{ else }}c{{ end }}", "b"),
        ("{{ with $labels.job }}{{ . }}{{ else }}none{{ end }}", "edge"),
        ("{{ with $labels.none }}{{ . }}{{ else }}none{{ end }}", "none"),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "job=edge;zone=b;"),
        ('{{ range query "up" }}{{ .Labels.instance }}={{ .Value }} {{ end }}', "b:9100=2 a:9100=1.5 "),
        ('{{ range query "up" | sortByLabel "instance" }}{{ .Value }} {{ end }}', "1.5 2 "),
        ('{{ with query "up" }}{{ . | first | value | humanize }}{{ end }}', "2"),
        ('{{ query "up" | first | label "instance" | stripPort }}', "b"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ('{{ printf "%.2f%% of %s" 12.345 $labels.job }}', "12.35% of edge"),
        ('{{ printf "%5d|%-4s|%q" 42 "a" "b" }}', '   42|a   |"b"'),
        ('{{ (index (query "up") 1).Value }}', "1.5"),
        ("{{ len $labels }} {{ and true 0 }} {{ or 0 `x` }} {{ not true }}", "2 0 x false"),
        ('{{ reReplaceAll "(.*)ge" "${1}GE" $labels.job }}', "edGE"),
        ('{{ match "^ed" $labels.job }}', "true"),
        ('{{ toUpper "a" }}{{ toLower "B" }} {{ title "big deal" }}', "Ab Big Deal"),
        ("{{ eq $labels.job `edge` `other` }}", "true"),
        ('{{ "quo\\"ted" }}', 'quo"ted'),
    ],
)  # fmt: skip
def test_a_template_gives(text, expected):
    assert expand(text, job="edge", zone="b") == expected


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        ("humanize", 0.0, "0"),
        ("humanize", 1.0, "1"),
        ("humanize", 1234567.0, "1.235M"),
        ("humanize", 0.00012, "120u"),
        ("humanize", float("nan"), "NaN"),
        ("humanize", float("-inf"), "-Inf"),
        ("humanize1024", 0.0, "0"),
        ("humanize1024", 1048576.0, "1Mi"),
        ("humanize1024", 0.12, "0.12"),
        ("humanizeDuration", 0.0, "0s"),
        ("humanizeDuration", 60.0, "1m 0s"),
        ("humanizeDuration", 3600.0, "1h 0m 0s"),
        ("humanizeDuration", 90061.0, "1d 1h 1m 1s"),
        ("humanizeDuration", -1.0, "-1s"),
        ("humanizeDuration", 0.1, "100ms"),
        ("humanizeDuration", 1.2345, "1.234s"),
        ("humanizePercentage", 0.1234567, "12.35%"),
        ("humanizeTimestamp", 1432560000.0, "2015-05-25 13:20:00 +0000 UTC"),
        ("humanizeTimestamp", 1432560000.5, "2015-05-25 13:20:00.5 +0000 UTC"),
    ],
)
def test_prometheus_documents_it_so(function, value, expected):
    assert expand(f"{{{{ $value | {function} }}}}", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e6, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (123456.0, "123456"),
        (0.00001, "1e-05"),
        (1e21, "1e+21"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (2.5e-7, "2.5e-07"),
    ],
)
def test_numbers_are_printed_as_go_prints_them(value, expected):
    assert expand("{{ $value }}", value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ if }}x{{ end }}",
        "{{ if true }}x",
        "{{ end }}",
        "{{ unclosed",
        "{{ 'x }}",
        '{{ template "x" }}',
        "{{ (1 }}",
        "{{ 1 2 }}",
        "{{ }}",
    ],
)
def test_what_go_can_not_read_is_refused(text):
    with pytest.raises(TemplateError):
        Template(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ nosuch 1 }}", "not defined"),
        ("{{ $nosuch }}", "undefined variable"),
        ("{{ first `a` | value }}", "not a sample"),
        ("{{ humanize `x` }}", "error calling humanize"),
        ("{{ lt 1 `a` }}", "incompatible types"),
        ("{{ range 100000 }}x{{ end }}", "too many steps"),
        ("{{ printf `%1000d` 1 | reReplaceAll ` ` `aaaaaaaaaaaaaaaaaaaaaaaaa` }}" * 4, "too much"),
    ],
)
def test_what_can_not_run_says_why(text, why):
    with pytest.raises(TemplateError, match=why):
        expand(text)


def test_a_run_has_an_end():
    inner = "{{ range 99 }}" * 40 + "x" + "{{ end }}" * 40
    with pytest.raises(TemplateError, match="too many steps"):
        expand(inner)
    assert STEPS_MAX == 10_000
