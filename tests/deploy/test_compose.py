#!/usr/bin/env python3
"""deploy/compose.yaml: read by docker-compose, and of one mind with the files and the server that it names."""

import os
import re
import shutil
import subprocess
import sys

import manifests
import harness
from harness import case
from manifests import DEPLOY, option, seconds

SERVERS = ("rerankd-1", "rerankd-2")


def compose(folder_of_model=None):
    """The file as docker-compose understands it; that only reads."""
    program = shutil.which("docker-compose")
    if program is None:
        raise harness.Skip("there is no docker-compose here; deploy/setup --tests installs it")
    environment = {**os.environ, "GRAFANA_PASSWORD": "only for this test"}
    environment.update({"MODEL_DIRECTORY": folder_of_model} if folder_of_model else {})
    result = subprocess.run([program, "-f", os.path.join(DEPLOY, "compose.yaml"), "config"], env=environment,
                            capture_output=True, text=True, timeout=harness.PATIENCE)
    assert result.returncode == 0, result.stderr
    return manifests.yaml().safe_load(result.stdout)


def mounts(service):
    """Source and target of each."""
    for entry in service.get("volumes", []):
        yield entry.split(":")[:2]


@case
def docker_compose_accepts_it_and_wants_a_password():
    assert set(compose()["services"]) == {*SERVERS, "haproxy", "prometheus", "grafana"}
    environment = {name: value for name, value in os.environ.items() if name != "GRAFANA_PASSWORD"}
    refused = subprocess.run([shutil.which("docker-compose"), "-f", os.path.join(DEPLOY, "compose.yaml"), "config", "-q"],
                             env=environment, capture_output=True, text=True, timeout=harness.PATIENCE)
    assert refused.returncode != 0 and "GRAFANA_PASSWORD" in refused.stderr, refused


@case
def every_release_of_compose_accepts_the_limits():
    """Compose 1.29 knows no `pids` below deploy.resources.limits; from 2.26 on pids_limit, cpus and mem_limit may not stand
    beside those."""
    with open(os.path.join(DEPLOY, "compose.yaml"), encoding="utf-8") as file:
        services = manifests.yaml().safe_load(file)["services"]
    assert services
    for name, service in services.items():
        assert "limits" not in service.get("deploy", {}).get("resources", {}), f"{name}: limits below deploy"
        assert {"pids_limit", "cpus", "mem_limit"} <= set(service), name


@case
def the_plugin_of_docker_accepts_it_too():
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "compose", "version"], capture_output=True,
                                         timeout=harness.PATIENCE).returncode != 0:
        raise harness.Skip("there is no `docker compose` here")
    result = subprocess.run([program, "compose", "-f", os.path.join(DEPLOY, "compose.yaml"), "config", "-q"],
                            env={**os.environ, "GRAFANA_PASSWORD": "only for this test"}, capture_output=True, text=True,
                            timeout=harness.PATIENCE)
    assert result.returncode == 0, result.stderr


@case
def every_file_that_is_mounted_exists():
    composed = compose(folder_of_model=DEPLOY)
    found = 0
    for name, service in composed["services"].items():
        for source, target in mounts(service):
            assert source in composed["volumes"] or os.path.exists(source), f"{name} mounts {source}, which is not there"
            found += source not in composed["volumes"] and target != "/model"
    assert found >= 6, found
    for name in SERVERS:
        build = composed["services"][name]["build"]
        assert os.path.exists(os.path.join(build["context"], build["dockerfile"])), build


@case
def nothing_runs_with_more_than_it_needs():
    for name, service in compose()["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service, name
        assert service["cpus"] and service["mem_limit"] and service["pids_limit"], name
        for published in service.get("ports", []):
            assert name == "haproxy" or str(published).startswith("127.0.0.1:"), (name, published)
        if name not in SERVERS:
            assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+(-\w+)?", service["image"]), service["image"]


@case
def a_server_may_finish_what_it_has():
    services = compose()["services"]
    for name in SERVERS:
        arguments = services[name]["command"]
        drained = option(arguments, "drain-delay") + option(arguments, "drain-timeout")
        assert seconds(services[name]["stop_grace_period"]) >= drained + 5, (name, arguments)
        assert option(arguments, "drain-delay") >= 3, arguments  # HAProxy looks every second
        assert services[name]["networks"]["default"]["aliases"] == ["rerankd"], services[name]
    with open(os.path.join(DEPLOY, "haproxy.cfg"), encoding="utf-8") as file:
        hard_stop = re.search(r"^  hard-stop-after (\w+)", file.read(), re.M).group(1)
    assert seconds(services["haproxy"]["stop_grace_period"]) > seconds(hard_stop)


@case
def the_servers_port_options_and_health_check_are_the_programs():
    services = compose()["services"]
    port = manifests.default_port()
    assert services["haproxy"]["environment"]["RERANKD_DNS"] == f"rerankd:{port}"
    assert int(manifests.containerfile(r"^EXPOSE (\d+)")) == port
    test = services["rerankd-1"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "/usr/bin/rerankd"], test
    assert manifests.containerfile(r'^ENTRYPOINT \["(.*?)"\]') == test[1]
    assert f"http://127.0.0.1:{port}/" in test[-1], test
    arguments = services["rerankd-1"]["command"]
    hostname = arguments.index("--hostname")
    with harness.Server(*arguments[:hostname], *arguments[hostname + 2:], "--drain-delay", "0") as server:
        asked = [argument.replace(f":{port}/", f":{server.port}/") for argument in test[2:]]
        assert harness.run_binary(*asked).returncode == 0, asked
        server.terminate()
        server.wait_for_end()
        assert harness.run_binary(*asked).returncode != 0, asked


if __name__ == "__main__":
    sys.exit(harness.main())
