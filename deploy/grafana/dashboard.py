#!/usr/bin/env python3
"""Writes rerankd.json, the dashboard as Grafana exports one: `dashboard.py > rerankd.json`.

A row a question, a panel a line below: title, unit, then pairs of query and legend. Every query is run against a real
server's metrics by tests/deploy/test_prometheus.py."""

import argparse
import json
import sys

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
ON = 'instance=~"$instance"'
JOB = 'job="rerankd"'
RATE = "[$__rate_interval]"


def rate(name, labels="", by=""):
    """The sum over the chosen servers."""
    selector = ", ".join(part for part in (labels, ON) if part)
    return f"sum{f' by ({by})' if by else ''} (rate({name}{{{selector}}}{RATE}))"


def quantile(q, name, labels="", by=""):
    return f"histogram_quantile({q}, {rate(name + '_bucket', labels, 'le' + (', ' + by if by else ''))})"


def quantiles(name):
    return [(quantile(q, name), f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)]


def mean(name):
    return f"{rate(name + '_sum')} / {rate(name + '_count')}"


def share(part, whole):
    """Of all, where there are any."""
    return f"{rate(part)} / ({rate(part)} + {rate(whole)})"


def gauge(name, labels=""):
    return f"{name}{{{', '.join(part for part in (labels, ON) if part)}}}"


PHASE = "rerankd_request_phase_seconds"
EVERY = 'phase="between"'  # the one that every request is counted in
BY_PHASE = f"{rate(PHASE + '_sum', by='phase')} / scalar({rate(PHASE + '_count', EVERY)})"

ROWS = [
    ("Traffic", [
        ("Requests", "reqps", [(rate("te_requests_total", by="method"), "{{method}}")]),
        ("Failures", "reqps", [(rate("te_requests_failed_total", by="err"), "{{err}}")]),
        ("Tokens", "short", [(rate("rerankd_tokens_total", by="source"), "{{source}}"),
                             (f"sum ({gauge('te_estimated_tokens_per_second')})", "what the workers could")]),
        ("Servers", "short", [(f"sum ({gauge('rerankd_ready')})", "ready"),
                              (f"count by (version, model, dtype) ({gauge('rerankd_build_info')})",
                               "{{version}} {{model}} {{dtype}}")]),
        ("Up for", "s", [(f"time() - {gauge('process_start_time_seconds')}", "{{instance}}")]),
        ("Clients that left, were slow, or were told of in the log", "reqps", [
            (rate("te_client_gone_total"), "left"), (rate("te_client_too_slow_total"), "were too slow"),
            (rate("rerankd_slow_requests_total"), "slow requests")]),
    ]),
    ("Latency by phase", [
        ("Answers with scores", "s", quantiles("te_request_duration")),
        ("Where the mean request spends its time", "s", [(BY_PHASE, "{{phase}}")], "stacked"),
        ("p99 of each phase", "s", [(quantile(0.99, PHASE, by="phase"), "{{phase}}")]),
        ("Requests that miss the objective (99 % within 1 s)", "percentunit", [
            ("rerankd:bad_requests:ratio_rate5m", "5 minutes"), ("rerankd:bad_requests:ratio_rate1h", "an hour")]),
        ("Turns of the event loop", "s", quantiles("rerankd_event_loop_turn_seconds")),
        ("Time by server, p99", "s", [(quantile(0.99, "te_request_duration", by="instance"), "{{instance}}")]),
    ]),
    ("Batching", [
        ("Busy", "percentunit", [
            (f"{rate('rerankd_worker_busy_seconds_total')} / sum ({gauge('rerankd_workers')})", "workers"),
            (f"{rate('rerankd_pool_busy_seconds_total')} / sum ({gauge('rerankd_pool_threads')})", "pool")]),
        ("Fill of a micro-batch", "percentunit", [(mean("te_batch_fill"), "mean")] + quantiles("te_batch_fill")),
        ("A micro-batch", "short", [(mean("te_batch_next_size"), "sequences"), (mean("te_batch_next_tokens"), "tokens")]),
        ("Tokens of a sequence", "short", quantiles("te_request_input_length")),
    ]),
    ("Queue and refusals", [
        ("Predicted wait", "s", [(gauge("te_queue_predicted_duration"), "{{instance}}"),
                                 (f"max ({gauge('rerankd_queue_limit_seconds')})", "bound")]),
        ("Tokens that wait", "short", [(gauge("te_queue_tokens"), "{{instance}}"),
                                       (f"max ({gauge('rerankd_queue_limit_tokens')})", "bound")]),
        ("Requests", "short", [(gauge("te_request_active"), "{{instance}} at work"),
                               (gauge("te_queue_requests"), "{{instance}} waiting for a worker"),
                               (f"max ({gauge('rerankd_request_limit')})", "bound")]),
        ("Refused", "reqps", [(rate("te_requests_refused_total", by="reason"), "{{reason}}")]),
        ("Late, in part, or for nobody", "reqps", [
            (rate("te_request_deadline_missed_total"), "missed deadlines"),
            (rate("te_request_degraded_total"), "texts left out"), (rate("te_request_dropped_total"), "client left")]),
        ("Sequences that wait", "short", [(gauge("te_queue_size"), "{{instance}}")]),
    ]),
    ("Caches", [
        ("Hits", "percentunit", [(share("te_cache_hits_total", "te_cache_misses_total"), "scores"),
                                 (share("te_shared_cache_hits_total", "te_shared_cache_misses_total"), "shared scores"),
                                 (share("te_document_cache_hits_total", "te_document_cache_misses_total"), "documents")]),
        ("Scores", "short", [(gauge("te_cache_entries"), "{{instance}}"), (gauge("te_cache_capacity"), "{{instance}} at most")]),
        ("Shared cache: look-ups", "reqps", [(rate("te_shared_cache_lookups_total", by="outcome"), "{{outcome}}")]),
        ("Shared cache: waits", "s", quantiles("te_shared_cache_wait_duration")),
        ("Documents", "bytes", [(gauge("te_document_cache_bytes"), "{{instance}}"),
                                (gauge("te_document_cache_capacity_bytes"), "{{instance}} at most")]),
        ("Evicted", "ops", [(rate("te_cache_evictions_total"), "scores"),
                            (rate("te_document_cache_evictions_total"), "documents")]),
        ("Documents' file", "bytes", [(gauge("te_document_file_bytes"), "{{instance}}"),
                                      (gauge("te_document_file_capacity_bytes"), "{{instance}} at most")]),
        ("Documents' file: read, written, and trouble", "ops", [
            (rate("te_document_file_hits_total"), "read"), (rate("te_document_file_puts_total"), "written"),
            (rate("te_document_file_damaged_total"), "damaged"), (rate("te_document_file_failed_total"), "not written")]),
    ]),
    ("Process", [
        ("Resident memory", "bytes", [(gauge("process_resident_memory_bytes", JOB), "{{instance}}")]),
        ("Memory by what it is for", "bytes", [(f"sum by (kind) ({gauge('rerankd_memory_bytes')})", "{{kind}}")], "stacked"),
        ("CPU", "short", [(f"rate({gauge('process_cpu_seconds_total', JOB)}{RATE})", "{{instance}}")]),
        ("Descriptors", "short", [(gauge("process_open_fds", JOB), "{{instance}}"),
                                  (f"min ({gauge('process_max_fds', JOB)})", "at most")]),
    ]),
    ("Balancer (HAProxy)", [
        ("Replies by code", "reqps", [("sum by (code) (rate(haproxy_backend_http_responses_total[$__rate_interval]))",
                                       "{{code}}")]),
        ("Queued", "short", [("sum by (proxy) (haproxy_backend_current_queue)", "{{proxy}}")]),
        ("Retried and given to another", "reqps", [
            ("sum (rate(haproxy_backend_retry_warnings_total[$__rate_interval]))", "retried"),
            ("sum (rate(haproxy_backend_redispatch_warnings_total[$__rate_interval]))", "given to another")]),
        ("Servers that are up", "short", [("sum by (proxy) (haproxy_backend_active_servers)", "{{proxy}}")]),
    ]),
]


def panel(number, place, title, unit, queries, look=""):
    custom = {"drawStyle": "line", "fillOpacity": 30 if look else 0, "lineWidth": 1, "showPoints": "never",
              "stacking": {"group": "A", "mode": "normal" if look else "none"}}
    targets = [{"datasource": PROMETHEUS, "editorMode": "code", "expr": query, "legendFormat": legend, "range": True,
                "refId": chr(ord("A") + index)} for index, (query, legend) in enumerate(queries)]
    return {"datasource": PROMETHEUS, "id": number, "title": title, "type": "timeseries", "gridPos": place,
            "fieldConfig": {"defaults": {"custom": custom, "min": 0, "unit": unit}, "overrides": []},
            "options": {"legend": {"calcs": ["lastNotNull"], "displayMode": "table", "placement": "bottom",
                                   "showLegend": True},
                        "tooltip": {"mode": "multi", "sort": "desc"}},
            "targets": targets}


def panels():
    made, number, y = [], 0, 0
    for title, row in ROWS:
        number += 1
        made.append({"collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "id": number, "panels": [],
                     "title": title, "type": "row"})
        y += 1
        wide = 8 if len(row) % 3 == 0 else 6
        for index, what in enumerate(row):
            number += 1
            x = index * wide % 24
            y += 8 if index > 0 and x == 0 else 0
            made.append(panel(number, {"h": 8, "w": wide, "x": x, "y": y}, *what))
        y += 8
    return made


def variable(name, label, kind, query, **more):
    return {"name": name, "label": label, "type": kind, "query": query, "hide": 0, "refresh": 1, "current": {},
            "options": [], "regex": "", "skipUrlSync": False, **more}


def dashboard():
    return {
        "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.5.0"},
                       {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
                       {"type": "panel", "id": "timeseries", "name": "Time series", "version": ""}],
        "annotations": {"list": []}, "editable": True, "fiscalYearStartMonth": 0, "graphTooltip": 1, "id": None,
        "links": [], "liveNow": False, "panels": panels(), "refresh": "30s", "schemaVersion": 38, "style": "dark",
        "tags": ["rerankd"],
        "templating": {"list": [
            variable("datasource", "Data source", "datasource", "prometheus"),
            variable("instance", "Server", "query",
                     {"query": "label_values(rerankd_ready, instance)", "refId": "instance"},
                     datasource=PROMETHEUS, definition="label_values(rerankd_ready, instance)", includeAll=True,
                     allValue=".*", multi=True, sort=1)]},
        "time": {"from": "now-1h", "to": "now"}, "timepicker": {}, "timezone": "", "title": "rerankd",
        "uid": "rerankd", "version": 1, "weekStart": ""}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
