#!/usr/bin/env python3
"""deploy/Containerfile, built by buildah on a small Debian made here: what is in the image, and the server run from it."""

import functools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import chroots
import harness
from chroots import ROOT, run
from harness import Server, case, default_model, eventually, free_port

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import hub as hubs

MB = 1000 * 1000
USER = "65532:65532"
SERVER = "/usr/bin/rerankd"
REPO, FOLDER = "team/small-cross-encoder", "models--team--small-cross-encoder"
BODY = {"query": "how do bees make honey", "texts": ["Bees fan nectar.", "A hive is a box.", "Bread is baked."]}


@functools.cache
def workshop():
    """buildah's folder, and buildah with an image `base` in it: a small Debian, and ccache."""
    base = chroots.base()
    folder = chroots.work_folder("image")
    buildah = chroots.Buildah(folder)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, base, "/")
    install = "apt-get update -q && apt-get install -q -y --no-install-recommends ccache"
    buildah("run", "--isolation", "chroot", container, "--", "sh", "-c", install)
    buildah("commit", "--quiet", "--rm", container, "base")
    return folder, buildah


@functools.cache
def context():
    """The sources as somebody has them, with a build and a secret beside them."""
    folder = os.path.join(workshop()[0], "context")
    os.makedirs(folder)
    for name in ("core", "proto", "server", "docs", "deploy", "models"):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(folder, name))
    for name in ("meson.build", "meson_options.txt", "LICENSE", "README.md", "CHANGELOG.md"):
        shutil.copy(os.path.join(ROOT, name), folder)
    for name in ("build", ".git"):
        os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, name, "of-the-machine"), "w", encoding="ascii") as file:
            file.write("not for others")
    return folder


@functools.cache
def build(name, *arguments):
    """An image of that name; every step is kept, so that a second one only differs where it must."""
    _, buildah = workshop()
    buildah("bud", "--isolation", "chroot", "--layers", "--format", "docker", "--build-arg", "BASE=localhost/base",
            "--volume", f"{chroots.compiled()}:/root/.cache/ccache", "--ignorefile", "deploy/Containerfile.dockerignore",
            "-f", "deploy/Containerfile", *arguments, "-t", name, ".",
            cwd=context())
    return name


def image():
    """Without a model."""
    return build("rerankd-bare", "--build-arg", "MODEL=deploy/rerankd.json")


def with_model():
    image()
    return build("rerankd")


@functools.cache
def configuration(name):
    return json.loads(workshop()[1]("inspect", "--type", "image", name))["Docker"]["config"]


@functools.cache
def container(name):
    return workshop()[1]("from", name)


@functools.cache
def tree():
    """Where the image's files lie, and what they are: path to (status, target of a link)."""
    top = workshop()[1]("mount", container(image()))
    files = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
            files[path[len(top):]] = (status, link)
    return top, files


def regular(files):
    return {path: status for path, (status, _) in files.items() if stat.S_ISREG(status.st_mode)}


def ask(port, method, path, body=None):
    with harness.Connection(port) as connection:
        connection.send_request(method, path, None if body is None else json.dumps(body).encode())
        return connection.response()


def is_ready(port, process, log):
    assert process.poll() is None, f"the server ended at once:\n{log()}"
    try:
        return ask(port, "GET", "/ready").status == 200
    except OSError:
        return False


class Running:
    """The server in its container, by the image's own user, environment and entrypoint; the port and options are ours."""

    def __init__(self, *arguments, name=None, options=(), command=None):
        self.port = free_port()
        self.words = [*configuration(name or image())["Entrypoint"], "--dtype", "float32", "--port", str(self.port), *arguments]
        command = command or [*workshop()[1].command, "run", "--isolation", "chroot", *options, container(name or image()), "--"]
        self.log_file = tempfile.NamedTemporaryFile(prefix="rerankd-", suffix=".log")
        self.process = subprocess.Popen([*command, *self.words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log_file)

    def log(self):
        with open(self.log_file.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self):
        try:
            eventually(lambda: is_ready(self.port, self.process, self.log), "the server in the container")
        except Exception:
            self.process.kill()
            raise
        self.pid = chroots.find_process(*self.words)
        return self

    def __exit__(self, kind, *_):
        pid = chroots.find_process(*self.words)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        status = self.process.wait(harness.PATIENCE)
        assert kind is not None or status == 0, f"ended with {status}:\n{self.log()}"

    def rerank(self):
        response = ask(self.port, "POST", "/rerank", BODY)
        assert response.status == 200, response
        return response.json()


@functools.cache
def expected(model):
    with Server(model=model) as server:
        return server.rerank(BODY).json()


def blobs(name):
    """What a registry would hold of it: bytes of its layers, compressed."""
    folder, buildah = workshop()
    target = os.path.join(folder, "registry-" + name)
    buildah("push", "--quiet", name, f"oci:{target}:it")
    with open(os.path.join(target, "index.json"), encoding="utf-8") as file:
        digest = json.load(file)["manifests"][0]["digest"]
    with open(os.path.join(target, "blobs", *digest.split(":")), encoding="utf-8") as file:
        return sum(layer["size"] for layer in json.load(file)["layers"])


@case
def the_image_is_built_on_a_small_debian():
    labels = configuration(image())["Labels"]
    with open(os.path.join(ROOT, "meson.build"), encoding="utf-8") as file:
        version = re.search(r"^ *version: '([^']+)'", file.read(), re.MULTILINE).group(1)
    assert labels["org.opencontainers.image.version"] == version, labels
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0", labels


@case
def it_is_under_60_MB_without_a_model():
    files = regular(tree()[1])
    whole = sum(status.st_size for status in files.values())
    compressed = blobs(image())
    largest = sorted(files, key=lambda path: -files[path].st_size)[:5]
    print(f"# {len(files)} files, {whole / MB:.1f} MB; as layers in a registry {compressed / MB:.1f} MB")
    print("# largest: " + ", ".join(f"{path} {files[path].st_size / MB:.1f}" for path in largest))
    assert compressed < whole < 60 * MB, (compressed, whole)


@case
def in_it_is_the_server_and_what_it_is_linked_with_and_no_other_program():
    _, files = tree()
    programs = {path for path, status in regular(files).items()
                if status.st_mode & 0o111 and not re.search(r"\.so(\.[0-9.]+)?$", path)}
    assert programs == {SERVER}, programs
    allowed = re.compile(r"/usr/lib/[^/]+-linux-gnu/[^/]+\.so[.0-9]*$|/usr/share/doc/[^/]+/copyright$"
                         r"|/var/lib/dpkg/status\.d/[^/]+$|/etc/(passwd|group|nsswitch\.conf|os-release)$"
                         r"|/etc/ssl/certs/ca-certificates\.crt$|/model/rerankd\.json$|" + SERVER + "$")
    # An engine lays these itself.
    laid = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/run/.containerenv")
    others = {path for path in regular(files) if not allowed.match(path) and path not in laid}
    assert not others, sorted(others)


@case
def nothing_in_it_raises_rights_or_can_be_written_but_data():
    _, files = tree()
    for path, (status, link) in files.items():
        if link is None:
            assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID), path
            assert not status.st_mode & 0o022, (path, oct(status.st_mode))
            assert (status.st_uid != 0) == (path == "/data"), (path, status.st_uid)
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or link is not None, path
    status = files["/data"][0]
    assert f"{status.st_uid}:{status.st_gid}" == USER, status


@case
def every_library_is_traced_to_a_package():
    top, files = tree()
    folder = os.path.join(top, "var/lib/dpkg/status.d")
    known = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            fields = dict(re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", file.read(), re.MULTILINE))
        assert fields["Package"] == name and fields["Version"] and "Conffiles" not in fields, fields
        assert f"/usr/share/doc/{name}/copyright" in files, name
        known[name] = fields["Version"]
    expected_names = {"rerankd", "libc6", "libcurl3-gnutls", "libmicrohttpd12", "ca-certificates", "base-files"}
    assert expected_names <= {chroots.plain(name) for name in known}, known
    libraries = [path for path in regular(files) if ".so" in path]
    assert len(libraries) >= len(known) - 3, (libraries, known)  # some packages hold several, three of these none


@case
def it_says_how_to_run_it():
    config = configuration(image())
    assert config["User"] == USER and config["Entrypoint"] == [SERVER] and not config["Cmd"], config
    assert config["ExposedPorts"] == {"3000/tcp": {}} and config["StopSignal"] == "SIGTERM", config
    assert config["Volumes"] == {"/data": {}}, config
    check = config["Healthcheck"]["Test"]
    assert check == ["CMD", SERVER, "--health", "http://127.0.0.1:3000/ready"], check
    assert {"PORT=3000", "HOSTNAME=0.0.0.0", "MODEL_ID=/model", "HF_HOME=/data"} <= set(config["Env"]), config


@case
def a_mounted_model_is_served_as_elsewhere():
    model = default_model()
    with Running(options=("-v", f"{model}:/model:ro")) as server:
        with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["Uid"].split() == ["65532"] * 4 and int(status["CapEff"], 16) == 0, status
        assert status["Seccomp"] == "2", status
        assert server.rerank() == expected(model)
        check = [*configuration(image())["Healthcheck"]["Test"][1:-1], f"http://127.0.0.1:{server.port}/ready"]
        in_container = [*workshop()[1].command, "run", "--isolation", "chroot", container(image()), "--"]
        run(*in_container, *check)
        nobody = subprocess.run([*in_container, *check[:-1], f"http://127.0.0.1:{free_port()}/ready"], check=False,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert nobody.returncode != 0 and "--health" in nobody.stderr, nobody


@case
def the_default_model_is_baked_in():
    print(f"# as layers in a registry {blobs(with_model()) / MB:.1f} MB")
    with Running(name=with_model()) as server:
        assert server.rerank() == expected(os.path.join(ROOT, "models", "rerankd-minilm-en-v1"))


def read_only(data):
    """A command that starts programs in the image, read-only but for what is mounted at /data."""
    top = tree()[0]
    script = ('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind "$1" "$0/data" && '
              'mount -t proc proc "$0/proc" && ! touch "$0/etc/x" 2>/dev/null && shift && exec "$@"')
    environment = ["env", "-i", *configuration(image())["Env"]]
    return ["unshare", "--mount", "sh", "-c", script, top, data, *environment, "chroot", f"--userspec={USER}", top]


@case
def the_root_may_be_read_only_and_models_by_name_go_to_data():
    folder, _ = workshop()
    data = os.path.join(folder, "data")
    os.makedirs(data)
    os.chown(data, *map(int, USER.split(":")))
    files = {}
    for name in os.listdir(harness.small_model()):
        with open(os.path.join(harness.small_model(), name), "rb") as file:
            files[name] = file.read()
    with hubs.Hub(REPO, files) as hub:
        with Running("--model-id", REPO, "--hf-endpoint", hub.url, command=read_only(data)) as server:
            assert server.rerank() == expected(harness.small_model())
    assert os.listdir(os.path.join(data, "hub", FOLDER)), os.listdir(data)


if __name__ == "__main__":
    sys.exit(harness.main())
