#!/usr/bin/env python3
"""What deploy/prometheus and deploy/grafana ask for is what a server tells: checked by promtool, and by the real Prometheus
scraping two servers (and, where it is installed, HAProxy) with the configuration that ships."""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
from harness import Server, Skip, case, eventually, free_port, golden_model, temporary_folder  # noqa: E402

PROMETHEUS = os.path.join(ROOT, "deploy", "prometheus")
GRAFANA = os.path.join(ROOT, "deploy", "grafana")
TEXTS = [f"{number} words" for number in range(9)]
world = None


def need(program):
    if shutil.which(program) is None:
        raise Skip(f"{program} is not installed")
    return program


def promtool(*arguments, text=None):
    return subprocess.run([need("promtool"), *arguments], cwd=PROMETHEUS, input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=harness.PATIENCE)


def run(*command, folder):
    """A program of this test's own, ended with it."""
    log = open(os.path.join(folder, os.path.basename(command[0]) + ".log"), "wb")
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    atexit.register(process.wait)
    atexit.register(process.terminate)
    return process


class World:
    """Two servers, HAProxy if there is one, and a Prometheus that scrapes them each second."""

    def __init__(self):
        need("prometheus")
        self.folder = temporary_folder()
        self.asked = 0
        self.servers = [Server("--threads", "1", "--cache-bytes", "100000"),
                        Server(model=golden_model("bi-encoder"))]
        for server in self.servers:
            atexit.register(server.kill)
        self.haproxy_port = self.start_haproxy()
        self.port = free_port()
        self.configure()
        self.process = run("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                           f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn", folder=self.folder)
        eventually(self.is_up, "Prometheus")
        eventually(self.use_and_count, "three scrapes of each")

    def configure(self):
        """The files that ship, scraping and evaluating each second, with targets of our own."""
        with open(os.path.join(PROMETHEUS, "prometheus.yml"), encoding="utf-8") as file:
            config, changed = re.subn(r"(?m)^  (scrape|evaluation)_interval: 15s$", r"  \1_interval: 1s", file.read())
        assert changed == 2, config
        with open(os.path.join(self.folder, "prometheus.yml"), "w", encoding="utf-8") as file:
            file.write(config)
        shutil.copy(os.path.join(PROMETHEUS, "alerts.yml"), self.folder)
        os.mkdir(os.path.join(self.folder, "targets"))
        self.write_targets("rerankd", [server.port for server in self.servers])
        self.write_targets("haproxy", [self.haproxy_port] if self.haproxy_port else [])

    def write_targets(self, name, ports):
        with open(os.path.join(self.folder, "targets", name + ".yml"), "w", encoding="utf-8") as file:
            json.dump([{"targets": [f"127.0.0.1:{port}" for port in ports]}], file)  # which is YAML as well

    def start_haproxy(self):
        if shutil.which("haproxy") is None:
            print("# haproxy is not installed: the queries about it are parsed and no more")
            return None
        port = free_port()
        with open(os.path.join(self.folder, "haproxy.cfg"), "w", encoding="utf-8") as file:
            file.write(f"defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n"
                       f"frontend metrics\n  bind 127.0.0.1:{port}\n"
                       f"  http-request use-service prometheus-exporter if {{ path /metrics }}\n"
                       f"backend rerankd\n  server a 127.0.0.1:{self.servers[0].port} check\n")
        run("haproxy", "-db", "-f", "haproxy.cfg", folder=self.folder)
        return port

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def is_up(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/api/v1/query", query="1")["status"] == "success"
        except (OSError, ValueError):  # not listening yet, or listening and not ready
            return False

    def log(self):
        with open(os.path.join(self.folder, "prometheus.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def query(self, text):
        reply = self.get("/api/v1/query", query=text)
        assert reply["status"] == "success", (text, reply)
        return reply["data"]["result"]

    def use_and_count(self):
        self.asked += 1
        for server in self.servers:
            assert server.rerank({"query": f"what {self.asked}", "texts": TEXTS}).status == 200
        jobs = 3 if self.haproxy_port else 2
        time.sleep(0.2)
        return len(self.query("count_over_time(up[1m]) >= 3 and up == 1")) == jobs

    def rules(self):
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def shared():
    global world
    if world is None:
        world = World()
    return world


# --- what a query names ---------------------------------------------------------------------------

KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset",
            "inf", "nan"}


def names_in(query):
    """Pairs of a metric and a label that is matched, each metric also with None; and the labels that are grouped by."""
    matched, grouped = set(), set()
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', query)
    text = re.sub(r"\[[^\]]*\]", "", text)

    def group(found):
        grouped.update(re.findall(r"\w+", found.group(1)))
        return " "

    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", group, text)
    for name, labels in re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\s*\{([^}]*)\})?", text):
        if name.lower() not in KEYWORDS:
            matched.update((name, label) for label in [None, *re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)])
    return matched, grouped


def told(served):
    """The labels of each metric that is told."""
    labels = {}
    for line in served.splitlines():
        found = re.match(r"([a-zA-Z_:][\w:]*)(\{.*\})? ", line)
        if found and not line.startswith("#"):
            labels.setdefault(found.group(1), set()).update(re.findall(r'(\w+)="', found.group(2) or ""))
    return labels


def all_told():
    """By all servers, by HAProxy, by the rules, and by Prometheus itself of its targets."""
    here = shared()
    labels = {"up": set()}
    texts = [server.request("GET", "/metrics").body.decode() for server in here.servers]
    if here.haproxy_port:
        with urllib.request.urlopen(f"http://127.0.0.1:{here.haproxy_port}/metrics", timeout=10) as reply:
            texts.append(reply.read().decode())
    for text in texts:
        for name, found in told(text).items():
            labels.setdefault(name, set()).update(found)
    labels.update({rule["name"]: set() for rule in here.rules() if rule["type"] == "recording"})
    return {name: found | {"job", "instance"} for name, found in labels.items()}


def check_names(query, known):
    matched, grouped = names_in(query)
    assert matched, query
    for name, label in matched:
        if name.startswith("haproxy_") and not shared().haproxy_port:
            continue
        assert name in known, f"nobody tells {name}: {query}"
        assert label is None or label in known[name], f"{name} has no label {label}: {query}"
    possible = set().union(*(known.get(name, set()) for name, _ in matched))
    assert grouped <= possible or any(name.startswith("haproxy_") for name, _ in matched), (query, grouped)


# --- cases ----------------------------------------------------------------------------------------


@case
def names_are_found_in_queries():
    assert names_in('sum by (a, b) (rate(x_total{c=~"d|e{", f!="g"}[5m])) / on (h) group_left y:z > 0.5') == (
        {("x_total", None), ("x_total", "c"), ("x_total", "f"), ("y:z", None)}, {"a", "b", "h"})
    assert names_in("time() - 6 * 3600 > 1e9 and up == 1") == ({("up", None)}, set())
    for wrong in ("te_requests_totals", 'te_requests_total{methods="x"}', "sum by (nothing) (te_requests_total)"):
        try:
            check_names(wrong, all_told())
        except AssertionError:
            continue
        raise AssertionError(f"{wrong} was found")


@case
def promtool_finds_nothing_wrong_with_the_metrics():
    need("promtool")
    for server in shared().servers:
        text = server.request("GET", "/metrics").body.decode()
        result = promtool("check", "metrics", text=text)
        assert result.returncode == 0 and result.stdout == "", result.stdout
        result = promtool("check", "metrics", text=text + "# TYPE wrong_count counter\nwrong_count 1\n")
        assert result.returncode != 0, "a wrong name is found"


@case
def promtool_finds_nothing_wrong_with_configuration_and_rules():
    for arguments in (("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        result = promtool(*arguments)
        assert result.returncode == 0 and "WARN" not in result.stdout, result.stdout


@case
def alerts_fire_and_keep_still_as_their_tests_say():
    result = promtool("test", "rules", "alerts_test.yml")
    assert result.returncode == 0, result.stdout


@case
def each_alert_has_a_case_that_fires_and_one_that_does_not():
    with open(os.path.join(PROMETHEUS, "alerts.yml"), encoding="utf-8") as file:
        alerts = set(re.findall(r"(?m)^ +- alert: (\w+)$", file.read()))
    with open(os.path.join(PROMETHEUS, "alerts_test.yml"), encoding="utf-8") as file:
        cases = re.findall(r"alertname: (\w+),?\s+eval_time: \w+,?\s+exp_alerts:( \[\])?", file.read())
    assert len(alerts) >= 15, alerts
    assert {name for name, empty in cases if not empty} == alerts, cases
    assert {name for name, empty in cases if empty} == alerts, cases


@case
def prometheus_scrapes_two_servers():
    here = shared()
    for server in here.servers:
        found = here.query(f'up{{job="rerankd", instance="127.0.0.1:{server.port}"}}')
        assert len(found) == 1 and found[0]["value"][1] == "1", found
        asked = server.metrics()['te_requests_total{method="rerank"}']
        eventually(lambda: float(here.query(
            f'te_requests_total{{method="rerank", instance="127.0.0.1:{server.port}"}}')[0]["value"][1]) == asked,
                   "the number of requests")
    busy = here.query("sum by (instance) (rate(rerankd_worker_busy_seconds_total[30s])) > 0")
    assert len(busy) == 2, busy
    kinds = {series["metric"]["kind"] for series in here.query("rerankd_memory_bytes > 0")}
    assert {"weights", "workspaces"} <= kinds, kinds


@case
def every_rule_asks_for_what_is_told():
    known, rules = all_told(), shared().rules()
    assert len(rules) >= 19, rules
    for rule in rules:
        check_names(rule["query"], known)
        eventually(lambda: [now["health"] for now in shared().rules() if now["name"] == rule["name"]] == ["ok"],
                   rule["name"])


@case
def every_query_of_the_dashboard_asks_for_what_is_told_and_gets_it():
    with open(os.path.join(GRAFANA, "rerankd.json"), encoding="utf-8") as file:
        dashboard = json.load(file)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 30, len(panels)
    known = all_told()
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
            assert "$" not in query, query
            check_names(query, known)
            result = shared().query(query)
            about_haproxy = "haproxy_" in query and not shared().haproxy_port
            assert result or about_haproxy, f"{panel['title']}: nothing for {query}"
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert about_haproxy or all(label in series["metric"] for series in result), (panel["title"], label)
    for variable in dashboard["templating"]["list"]:
        for name, label in re.findall(r"label_values\((\w+), (\w+)\)", json.dumps(variable)):
            assert label in known[name], variable


@case
def panels_do_not_overlap_and_stay_on_the_grid():
    with open(os.path.join(GRAFANA, "rerankd.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert all(x < 24 for x, _ in cells) and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@case
def the_dashboard_is_what_its_program_writes():
    made = subprocess.run([sys.executable, "-B", os.path.join(GRAFANA, "dashboard.py")], stdout=subprocess.PIPE, check=True)
    with open(os.path.join(GRAFANA, "rerankd.json"), "rb") as file:
        assert file.read() == made.stdout, "deploy/grafana/dashboard.py > deploy/grafana/rerankd.json"


@case
def a_server_that_is_gone_is_noticed():
    here = shared()
    lost = here.servers.pop()
    lost.kill()
    eventually(lambda: here.query(f'up{{instance="127.0.0.1:{lost.port}"}} == 0'), "up to be 0")
    alerts = eventually(lambda: [alert for alert in here.get("/api/v1/alerts")["data"]["alerts"]
                                 if alert["labels"]["alertname"] == "RerankdDown"], "the alert")
    assert [alert["labels"]["instance"] for alert in alerts] == [f"127.0.0.1:{lost.port}"], alerts
    here.servers[0].stop()


if __name__ == "__main__":
    sys.exit(harness.main())
