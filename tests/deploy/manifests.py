"""What is deployed, read from deploy/: YAML, and the Kubernetes schemas, from an environment of their own."""

import glob
import os
import re
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness

DEPLOY = os.path.join(ROOT, "deploy")
ENVIRONMENT = os.path.join(ROOT, ".cache", "kubernetes-validate")
VERSION = "1.37.0"
SECONDS = 300


def environment():
    """The folder of kubernetes-validate's environment; installed when it is first asked for."""
    program = os.path.join(ENVIRONMENT, "bin", "kubernetes-validate")
    if not os.path.exists(program):
        try:
            venv.create(ENVIRONMENT, with_pip=True)
            subprocess.run([os.path.join(ENVIRONMENT, "bin", "pip"), "install", "--quiet", f"kubernetes-validate=={VERSION}"],
                           check=True, capture_output=True, text=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise harness.Skip(f"kubernetes-validate cannot be installed: {str(error)[:100]}") from None
    return ENVIRONMENT


def yaml():
    folder = glob.glob(os.path.join(environment(), "lib", "python3*", "site-packages"))[0]
    if folder not in sys.path:
        sys.path.append(folder)
    import yaml as module
    return module


def documents(path):
    with open(os.path.join(DEPLOY, path), encoding="utf-8") as file:
        return list(yaml().safe_load_all(file))


def kubernetes():
    """Every object by its kind and name; the kustomization apart."""
    found = {}
    for path in sorted(glob.glob(os.path.join(DEPLOY, "kubernetes", "*.yaml"))):
        for document in documents(path):
            if document["kind"] != "Kustomization":
                key = document["kind"], document["metadata"]["name"]
                assert key not in found, f"{key} is there twice"
                found[key] = document
    return found


def validate(path):
    """What kubernetes-validate says of a file against the schemas of its newest Kubernetes: status and words."""
    result = subprocess.run([os.path.join(environment(), "bin", "kubernetes-validate"), "--strict", path],
                            capture_output=True, text=True, timeout=SECONDS)
    return result.returncode, result.stdout + result.stderr


def option(arguments, name):
    """The whole number that an option has in a list, as --name=3 or as two entries."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"--{name}="):
            return int(argument.split("=", 1)[1])
        if argument == f"--{name}":
            return int(arguments[i + 1])
    raise AssertionError(f"--{name} is not among {arguments}")


def seconds(duration):
    """Of compose's duration, as 70s or 1m10s."""
    parts = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    return 60 * int(parts.group(1) or 0) + int(parts.group(2) or 0)


def containerfile(pattern):
    """What the image's recipe says, by a regular expression's group."""
    with open(os.path.join(DEPLOY, "Containerfile"), encoding="utf-8") as file:
        found = re.findall(pattern, file.read(), re.M)
    assert found, pattern
    return found[-1]


def default_port():
    return int(re.search(r"--port[^\n]*\n?[^\n]*default: (\d+)\)", harness.run_binary("--help").stdout).group(1))
