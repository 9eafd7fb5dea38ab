#!/usr/bin/env python3
"""The Debian package that deploy/package makes: the same bytes everywhere, sound by lintian, installed in a clean Debian by
apt, serving there, and gone without a trace when it is purged."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import chroots
import harness
from chroots import ROOT, run
from harness import Server, case, eventually, free_port

BODY = {"query": "how do bees make honey", "texts": ["Bees fan nectar.", "A hive is a box.", "Bread is baked."]}
DEFAULTS = "/etc/default/rerankd"
MODEL = "/usr/share/rerankd/models/rerankd-minilm-en-v1"
# What any installation changes, whatever is installed.
NOISE = re.compile(r"/(dev|proc|sys|tmp|run|var/log|var/cache|var/lib/apt|var/lib/dpkg|var/lib/systemd)(/|$)|/etc/ld\.so\.cache$")


@functools.cache
def folder():
    chroots.need("mmdebstrap", "dh", "help2man")
    return chroots.work_folder("package")


def built(name, **environment):
    target = os.path.join(folder(), name)
    path = run(os.path.join(ROOT, "deploy", "package"), target,
               env={**os.environ, "CCACHE_DIR": chroots.compiled(), **environment}).strip()
    assert os.path.dirname(path) == target and os.listdir(target) == [os.path.basename(path)], os.listdir(target)
    return path


@functools.cache
def package():
    return built("here", SOURCE_DATE_EPOCH="1790000000")


@functools.cache
def clean():
    """A clean Debian, with the package's file in /."""
    top = os.path.join(folder(), "root")
    os.makedirs(top)
    run("tar", "-x", "-f", chroots.base(), "-C", top, "--numeric-owner")
    shutil.copy(package(), os.path.join(top, "rerankd.deb"))
    inside("apt-get", "update", "-q")
    return top


def into(top):
    """The command that runs another one in the chroot, with a /proc of its own."""
    return ["unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', top]


def inside(*command):
    top = os.path.join(folder(), "root")
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                   "DEBIAN_FRONTEND": "noninteractive"}
    return run(*into(top), *command, env=environment)


def paths(top):
    found = set()
    for where, folders, names in os.walk(top):
        inner = where[len(top):]
        folders[:] = [name for name in folders if not NOISE.search(f"{inner}/{name}/")]
        found.update(f"{inner}/{name}" for name in folders + names if not NOISE.search(f"{inner}/{name}"))
    return found


@functools.cache
def before():
    return paths(clean())


@functools.cache
def installed():
    before()
    return inside("apt-get", "install", "-q", "-y", "--no-install-recommends", "/rerankd.deb")


def field(name):
    return run("dpkg-deb", "--field", package(), name).strip()


@case
def the_same_sources_make_the_same_package():
    other = built("elsewhere/deeper", SOURCE_DATE_EPOCH="1790000000", TZ="Asia/Tokyo", LANG="de_DE.UTF-8", HOME="/nonexistent")
    with open(package(), "rb") as one, open(other, "rb") as two:
        assert one.read() == two.read(), "the bytes differ; diffoscope tells where"


@case
def lintian_has_nothing_to_say():
    chroots.need("lintian")
    said = run("lintian", "--allow-root", "--fail-on", "error,warning", package())
    assert not said.strip(), said


@case
def it_depends_on_libraries_alone():
    with open(os.path.join(ROOT, "meson.build"), encoding="utf-8") as file:
        version = re.search(r"^ *version: '([^']+)'", file.read(), re.MULTILINE).group(1)
    assert field("Version") == version, field("Version")
    depends = [chroots.plain(entry.split()[0]) for entry in field("Depends").split(",")]
    assert "libmicrohttpd12" in depends and all(name.startswith(("lib", "zlib1g")) for name in depends), depends
    assert "libopenblas0" not in depends, depends


@case
def its_files_lie_where_debian_wants_them():
    listed = run("dpkg-deb", "--contents", package()).splitlines()
    files = {line.split()[5].lstrip("."): line.split()[0] for line in listed}
    assert all(line.split()[1] == "root/root" for line in listed), listed
    for path, mode in (("/usr/bin/rerankd", "-rwxr-xr-x"), (MODEL + "/model.safetensors", "-rw-r--r--"),
                       ("/usr/share/doc/rerankd/copyright", "-rw-r--r--"),
                       ("/usr/share/man/man1/rerankd.1.gz", "-rw-r--r--"), (DEFAULTS, "-rw-r--r--"),
                       ("/lib/systemd/system/rerankd.service", "-rw-r--r--"), ("/lib/systemd/system/rerankd.socket", "-rw-r--r--")):
        assert files.get(path, files.get("/usr" + path)) == mode, (path, files)


@case
def links_between_its_pages_lead_to_pages():
    """Those to what only the sources have (tests, bench, models, a folder's README) cannot."""
    unpacked = os.path.join(package() + ".pages")
    run("dpkg-deb", "--extract", package(), unpacked)
    try:
        top = os.path.join(unpacked, "usr/share/doc/rerankd")
        pages = ["README.md", *(os.path.join("docs", name) for name in sorted(os.listdir(os.path.join(top, "docs"))))]
        assert len(pages) > 8, pages
        for page in pages:
            with open(os.path.join(top, page), encoding="utf-8") as file:
                links = re.findall(r"\]\(([^)#:]+\.md)[)#]", file.read())
            for link in links:
                target = os.path.normpath(os.path.join(os.path.dirname(page), link))
                if re.match(r"docs/|deploy/|server/THREATS", target):
                    assert os.path.isfile(os.path.join(top, target)), (page, link)
    finally:
        shutil.rmtree(unpacked)


@case
def apt_installs_it_in_a_clean_debian():
    installed()
    with open(os.path.join(ROOT, "meson.build"), encoding="utf-8") as file:
        assert inside("rerankd", "--version").split()[1] in file.read()
    new = paths(clean()) - before()
    programs = {path for path in new if re.match(r"/(usr/)?s?bin/", path)}
    assert programs == {"/usr/bin/rerankd"}, programs


@case
def the_installed_server_answers_as_the_built_one():
    installed()
    with Server(model=os.path.join(ROOT, "models", os.path.basename(MODEL))) as server:
        expected = server.rerank(BODY).json()
    port = free_port()
    words = ["/usr/bin/rerankd", "--dtype", "float32", "--hostname", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*into(clean()), *words], env=harness.clean_environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=log)
        try:
            eventually(lambda: ask_health(process, port), "the server in the chroot")
            with harness.Connection(port) as connection:
                connection.send_request("POST", "/rerank", harness.json.dumps(BODY).encode())
                assert connection.response().json() == expected
            process.send_signal(signal.SIGTERM)
            assert process.wait(harness.PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def ask_health(process, port):
    assert process.poll() is None, "the server ended at once"
    return harness.run_binary("--health", f"http://127.0.0.1:{port}/ready").returncode == 0


@case
def what_the_administrator_set_stays_until_it_is_purged():
    installed()
    path = clean() + DEFAULTS
    with open(path, "a", encoding="utf-8") as file:
        file.write("# mine\n")
    inside("dpkg", "--install", "/rerankd.deb")
    with open(path, encoding="utf-8") as file:
        assert file.read().endswith("# mine\n")
    inside("dpkg", "--remove", "rerankd")
    assert os.path.exists(path) and not os.path.exists(os.path.join(clean(), "usr/bin/rerankd"))
    inside("dpkg", "--purge", "rerankd")
    assert not os.path.exists(path)


@case
def an_upgrade_restarts_the_server_alone_and_removal_stops_it_with_its_socket():
    installed()
    inside("dpkg", "--install", "/rerankd.deb")
    # A stand-in for a running systemd, which writes down what it is asked.
    os.makedirs(os.path.join(clean(), "run/systemd/system"))
    control, log = (os.path.join(clean(), path) for path in ("usr/bin/systemctl", "tmp/asked"))
    with open(control, "w", encoding="ascii") as file:
        file.write('#!/bin/sh\necho "$*" >>/tmp/asked\n')
    os.chmod(control, 0o755)

    def asked(*command):
        with open(log, "w", encoding="ascii"):
            pass
        inside(*command)
        with open(log, encoding="ascii") as file:
            return {line for line in file.read().splitlines() if re.search("start|stop|enable ", line)}

    try:
        upgraded = asked("dpkg", "--install", "/rerankd.deb")
        assert [line.split()[-2:] for line in upgraded] == [["try-restart", "rerankd.service"]], upgraded
        removed = asked("dpkg", "--purge", "rerankd")
        assert [line.split()[-3:] for line in removed] == [["stop", "rerankd.socket", "rerankd.service"]], removed
    finally:
        os.remove(control)
        shutil.rmtree(os.path.join(clean(), "run/systemd"))


@case
def purged_it_leaves_nothing():
    installed()
    inside("apt-get", "install", "-q", "-y", "--no-install-recommends", "/rerankd.deb")
    os.makedirs(os.path.join(clean(), "var/lib/rerankd/models/some"), exist_ok=True)
    # On Debian 13 what is there before names libidn2-0, which came with libcurl, as useful: apt would keep it for that.
    useful = [f"APT::AutoRemove::{kind}Important=false" for kind in ("Recommends", "Suggests")]
    inside("apt-get", "purge", "-q", "-y", "--auto-remove", "-o", useful[0], "-o", useful[1], "rerankd")
    left = paths(clean()) - before()
    assert not left, sorted(left)
    known = [chroots.plain(name) for name in inside("dpkg-query", "--show", "--showformat", "${Package}\n").split()]
    assert "rerankd" not in known and "libmicrohttpd12" not in known, known


if __name__ == "__main__":
    sys.exit(harness.main())
