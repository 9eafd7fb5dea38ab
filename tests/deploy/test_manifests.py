#!/usr/bin/env python3
"""The Kubernetes manifests: valid by the schemas, of one mind with each other and with the server that they start."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import manifests
import harness
from harness import case
from manifests import kubernetes, option

GAUGE = "te_queue_predicted_duration"


def deployment():
    return kubernetes()["Deployment", "rerankd"]["spec"]


def container():
    only, = deployment()["template"]["spec"]["containers"]
    return only


def selects(selector, labels):
    return selector.items() <= labels.items()


@case
def every_object_is_valid():
    for (kind, _), document in kubernetes().items():
        if kind == "ServiceMonitor":
            assert document["apiVersion"] == "monitoring.coreos.com/v1", document
    folder = os.path.join(manifests.DEPLOY, "kubernetes")
    for name in sorted(os.listdir(folder)):
        if name not in ("kustomization.yaml", "service-monitor.yaml"):  # no schema comes with Kubernetes
            status, words = manifests.validate(os.path.join(folder, name))
            assert status == 0 and "passed" in words and "WARN" not in words, words


@case
def what_is_not_valid_is_found():
    with open(os.path.join(manifests.DEPLOY, "kubernetes", "deployment.yaml"), encoding="utf-8") as file:
        good = file.read()
    for wrong in (good.replace("readOnlyRootFilesystem", "readonlyRootFilesystem"),
                  good.replace("periodSeconds: 10", 'periodSeconds: "ten"'), good.replace("  selector:\n", "  selection:\n")):
        assert wrong != good
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "deployment.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(wrong)
            status, words = manifests.validate(path)
        assert status != 0, words


@case
def the_kustomization_names_every_file_but_the_adapters():
    kustomization, = manifests.documents("kubernetes/kustomization.yaml")
    assert kustomization["apiVersion"] == "kustomize.config.k8s.io/v1beta1", kustomization
    files = set(os.listdir(os.path.join(manifests.DEPLOY, "kubernetes")))
    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "prometheus-adapter.yaml"}, files
    image, = kustomization["images"]
    assert image["name"] == container()["image"], image
    version = harness.run_binary("--version").stdout.split()[-1]
    assert image["newTag"] == version, (image, version)


@case
def labels_ports_and_names_fit():
    objects = kubernetes()
    spec = deployment()
    labels = spec["template"]["metadata"]["labels"]
    port, = container()["ports"]
    assert port["containerPort"] == option(container()["args"], "port") == manifests.default_port(), port
    assert int(manifests.containerfile(r"^EXPOSE (\d+)")) == port["containerPort"]
    for selector in (spec["selector"]["matchLabels"],
                     objects["PodDisruptionBudget", "rerankd"]["spec"]["selector"]["matchLabels"],
                     objects["NetworkPolicy", "rerankd"]["spec"]["podSelector"]["matchLabels"],
                     objects["Service", "rerankd"]["spec"]["selector"], objects["Service", "rerankd-pods"]["spec"]["selector"],
                     spec["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]):
        assert selects(selector, labels), selector
    for name in ("rerankd", "rerankd-pods"):
        assert [entry["targetPort"] for entry in objects["Service", name]["spec"]["ports"]] == [port["name"]]
    for rule in objects["NetworkPolicy", "rerankd"]["spec"]["ingress"]:
        assert [entry["port"] for entry in rule["ports"]] == [port["containerPort"]], rule
    target = objects["HorizontalPodAutoscaler", "rerankd"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in objects, target
    # One of the two services, or each pod would be scraped twice.
    monitor = objects["ServiceMonitor", "rerankd"]["spec"]
    watched = [service for (kind, _), service in objects.items()
               if kind == "Service" and selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"])]
    assert len(watched) == 1, watched
    assert {entry["port"] for entry in monitor["endpoints"]} <= {entry["name"] for entry in watched[0]["spec"]["ports"]}
    mounted = {mount["name"] for mount in container()["volumeMounts"]}
    assert mounted == {volume["name"] for volume in deployment()["template"]["spec"]["volumes"]}, mounted


@case
def nothing_runs_with_more_than_it_needs():
    pod = deployment()["template"]["spec"]
    security, own = pod["securityContext"], container()["securityContext"]
    assert security["runAsNonRoot"] and security["seccompProfile"]["type"] == "RuntimeDefault", security
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == manifests.containerfile(r"^USER (\S+)"), security
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, own
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False, pod
    assert container()["resources"]["limits"] == container()["resources"]["requests"], container()["resources"]


@case
def a_pod_ends_after_its_drain_and_a_rollout_takes_none_away():
    arguments = container()["args"]
    drained = option(arguments, "drain-delay") + option(arguments, "drain-timeout")
    assert deployment()["template"]["spec"]["terminationGracePeriodSeconds"] >= drained + 5, drained
    assert deployment()["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "lifecycle" not in container()
    # /ready is what takes a pod out, long before the delay has passed.
    probe = container()["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] < option(arguments, "drain-delay"), probe


@case
def the_server_takes_these_options_and_answers_these_probes():
    arguments = [argument for argument in container()["args"] if not argument.startswith(("--model-id", "--hostname", "--port"))]
    arguments = [argument.replace(f"drain-delay={option(arguments, 'drain-delay')}", "drain-delay=1") for argument in arguments]
    assert "--hostname=0.0.0.0" in container()["args"]  # where else the pod's name in $HOSTNAME would count
    probes = {name: container()[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/live"}, probes
    with harness.Server(*arguments) as server:
        for probe in probes.values():
            assert probe["port"] == container()["ports"][0]["name"], probe
            assert server.request("GET", probe["path"]).status == 200, probe
        server.terminate()
        harness.eventually(lambda: server.request("GET", "/ready").status == 503, "the pod to leave its service")
        assert server.request("GET", "/live").status == 200


@case
def the_autoscalers_metric_is_served():
    objects = kubernetes()
    wanted = [metric["pods"]["metric"]["name"] for metric in objects["HorizontalPodAutoscaler", "rerankd"]["spec"]["metrics"]
              if metric["type"] == "Pods"]
    rules, = manifests.yaml().safe_load_all(objects["ConfigMap", "prometheus-adapter"]["data"]["config.yaml"])
    rule, = rules["rules"]
    assert [rule["name"]["as"]] == wanted, (rule, wanted)
    name = re.match(r"\w+", rule["seriesQuery"]).group(0)
    assert name == GAUGE and re.fullmatch(rule["name"]["matches"], name), rule
    for label in ("namespace", "pod"):
        assert f'{label}!=""' in rule["seriesQuery"] and label in rule["resources"]["overrides"], rule
    # Seconds in the gauge, milliseconds in the metric.
    assert rule["metricsQuery"].startswith("1000 * avg("), rule
    assert all(part in rule["metricsQuery"] for part in ("<<.Series>>", "<<.LabelMatchers>>", "<<.GroupBy>>")), rule
    if shutil.which("promtool"):  # of Debian's package prometheus: is it PromQL?
        query = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.LabelMatchers>>", 'namespace="a"')
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            json.dump({"groups": [{"name": "a", "rules": [{"record": "a", "expr": query.replace("<<.GroupBy>>", "pod")}]}]}, file)
            file.flush()
            checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True,
                                     timeout=harness.PATIENCE)
        assert checked.returncode == 0, checked
    server = harness.shared()
    text = server.request("GET", objects["ServiceMonitor", "rerankd"]["spec"]["endpoints"][0]["path"]).body.decode()
    assert re.search(rf"^# TYPE {name} gauge$", text, re.M) and re.search(rf"^{name} \d", text, re.M), text
    assert re.search(rf"^# HELP {name} Seconds ", text, re.M), text


if __name__ == "__main__":
    sys.exit(harness.main())
