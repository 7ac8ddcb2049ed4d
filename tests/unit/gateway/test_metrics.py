# SPDX-License-Identifier: Apache-2.0
"""The figures for the site's monitoring: what is counted, and that nobody's name is among them."""

from __future__ import annotations

import http.client
from pathlib import Path

from gateway_case import RESOURCES, Case
from munge_daemon import Munged
from prometheus_client.parser import text_string_to_metric_families

from qrmi_core.gateway.metrics import MOST_VALUES, Gauge, Metrics

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    families = text_string_to_metric_families(text.decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def sample(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.submitted("fez", "sampler")
    metrics.ended("fez", "sampler", "completed", 1.5)
    metrics.ended("fez", "sampler", "completed", 2.0)
    metrics.ended("fez", None, "failed", None)
    metrics.refused("ibm", 403)
    metrics.vendor_error("fez", "503")
    text = metrics.snapshot(
        [Gauge("lanes", "Lanes.", "resource", {"fez": 2}), Gauge("healthy", "Well.", "", {"": 1.0})], journal_commits=7
    ).text()
    assert sample(text, "qrmi_tasks_submitted_total", resource="fez", program="sampler") == 2
    assert sample(text, "qrmi_tasks_ended_total", resource="fez", program="sampler", outcome="completed") == 2
    assert sample(text, "qrmi_tasks_ended_total", resource="fez", program="", outcome="failed") == 1
    assert sample(text, "qrmi_device_seconds_total", resource="fez", program="sampler") == 3.5
    assert sample(text, "qrmi_refusals_total", door="ibm", status="403") == 1
    assert sample(text, "qrmi_vendor_errors_total", resource="fez", kind="503") == 1
    assert sample(text, "qrmi_lanes", resource="fez") == 2
    assert sample(text, "qrmi_healthy") == 1
    assert sample(text, "qrmi_journal_commits_total") == 7


def test_latencies_are_a_histogram_by_door_and_route() -> None:
    metrics = Metrics()
    for seconds in (0.0004, 0.001, 0.3, 100.0):
        metrics.forwarded("ibm", "GET", "/jobs/{id}", seconds)
    text = metrics.snapshot([]).text()
    route = {"door": "ibm", "method": "GET", "route": "/jobs/{id}"}
    counts = {
        bound: sample(text, "qrmi_door_request_seconds_bucket", **route, le=bound)
        for bound in ("0.001", "0.25", "0.5", "60.0", "+Inf")
    }
    assert counts == {"0.001": 2, "0.25": 2, "0.5": 3, "60.0": 3, "+Inf": 4}
    assert sample(text, "qrmi_door_request_seconds_count", **route) == 4


def test_clients_cannot_make_figures_without_end() -> None:
    metrics = Metrics()
    for number in range(3 * MOST_VALUES):
        metrics.submitted("fez", f"program-{number}" * 100)
    text = metrics.snapshot([]).text()
    told = [labels for name, labels in samples(text) if name == "qrmi_tasks_submitted_total"]
    assert len(told) == MOST_VALUES + 1
    assert max(len(value) for labels in told for _, value in labels) <= 60
    assert (
        sample(metrics.snapshot([]).text(), "qrmi_tasks_submitted_total", resource="fez", program="other")
        == 2 * MOST_VALUES
    )


def test_it_listens_for_the_sites_monitoring(daemons: Munged, tmp_path: Path) -> None:
    listen = {"admin": str(tmp_path / "admin.sock"), "metrics": "127.0.0.1:0"}
    case = Case(tmp_path, daemons.socket, resources=RESOURCES, listen=listen)
    with case.running():
        answers = {}
        for method, path in (("GET", "/metrics"), ("POST", "/metrics"), ("GET", "/v1/resources"), ("GET", "/")):
            connection = http.client.HTTPConnection("127.0.0.1", case.server.metrics_port, timeout=30)
            connection.request(method, path)
            answer = connection.getresponse()
            answers[method, path] = (answer.status, answer.read())
            connection.close()
    assert {key: status for key, (status, _) in answers.items()} == {
        ("GET", "/metrics"): 200, ("POST", "/metrics"): 405, ("GET", "/v1/resources"): 404, ("GET", "/"): 404,
    }  # fmt: skip
    text = answers["GET", "/metrics"][1]
    assert sample(text, "qrmi_lanes", resource="aer") == 2
    assert sample(text, "qrmi_lanes_used", resource="aer") == 0
    assert sample(text, "qrmi_queued_tasks", resource="Fez") == 0
    assert sample(text, "qrmi_out_of_service", resource="Fez") == 0
    assert sample(text, "qrmi_journal_healthy") == 1
    assert sample(text, "qrmi_journal_changes_total") is not None
    assert sample(text, "process_resident_memory_bytes") or 0 > 0
    assert b"planted" not in text
