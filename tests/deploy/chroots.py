"""Debian trees to install into, and containers of images: for root, or skipped."""

import atexit
import datetime
import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness

CACHE = os.path.join(ROOT, ".cache", "deploy")
MINUTES = 60
# dpkg as Debian's slim images have it: no fsync, no manuals.
SLIM = ("force-unsafe-io", "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
        "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*/LC_MESSAGES/*.mo")


def need(*commands):
    """Skips where these are not to be had."""
    if os.geteuid() != 0:
        raise harness.Skip("wants root, to make a chroot")
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise harness.Skip("this root may not mount anything")
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise harness.Skip(f"no {', '.join(missing)} here; deploy/setup --tests installs them")


def run(*command, timeout=20 * MINUTES, **options):
    """What it prints; its end and its errors where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=timeout, **options)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-40:]
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n" + "\n".join(said))
    return done.stdout


def remove(folder):
    """With whatever is mounted in it."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        inside = [line.split()[1] for line in mounts if line.split()[1].startswith(folder + "/")]
    for path in sorted(inside, reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def work_folder(name):
    """An empty folder in build/, gone when the program ends; those of killed programs go now."""
    start = os.path.join(ROOT, "build", f"deploy-{name}-")
    for old in glob.glob(start + "*"):
        if not os.path.exists("/proc/" + old[len(start):]):
            remove(old)
    folder = start + str(os.getpid())
    os.makedirs(folder)
    atexit.register(remove, folder)
    return folder


def own_release():
    """The codename of this machine's Debian; of the oldest that is supported, where it is something else."""
    with open("/etc/os-release", encoding="utf-8") as file:
        about = dict(line.rstrip("\n").replace('"', "").split("=", 1) for line in file if "=" in line)
    return about["VERSION_CODENAME"] if about.get("ID") == "debian" and "VERSION_CODENAME" in about else "bookworm"


def sources(release):
    """Where a release is had from, as lines for apt: from where this machine's own is; $RERANKD_MIRROR is another place.
    None: from where mmdebstrap has it."""
    mirror = os.environ.get("RERANKD_MIRROR")
    if mirror:
        return [f"deb {mirror} {release} main"]
    known = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    own = rf"({own_release()}|stable|oldstable)(-updates|-security|/updates)?"
    found = [re.fullmatch(rf"(\S+) {own} main", line) for line in known.splitlines()]
    return sorted({f"deb {match[1]} {release}{match[3] or ''} main" for match in found if match})


def plain(package):
    """A library's package as Debian 12 calls it: from 13 on some bear in their names that time has 64 bits."""
    return package.removesuffix("t64")


def machine_apt():
    """How this machine's apt gets at its sources (proxies and the like), as options."""
    lines = run("apt-config", "dump").splitlines()
    return [line for line in lines if line.startswith("Acquire::") and not line.endswith(' "";')]


def base(release=None):
    """A tar file of a small Debian of today, this machine's own by default; made once a day."""
    release = release or own_release()
    need("mmdebstrap")
    os.makedirs(CACHE, exist_ok=True)
    path = os.path.join(CACHE, f"base-{release}-{datetime.date.today()}.tar")
    with open(os.path.join(CACHE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            for old in glob.glob(os.path.join(CACHE, f"base-{release}-*")):
                os.remove(old)
            options = [f"--aptopt={line}" for line in machine_apt()] + [f"--dpkgopt={line}" for line in SLIM]
            run("mmdebstrap", "--mode=root", "--variant=minbase", *options, release, path + ".new.tar", *sources(release))
            os.rename(path + ".new.tar", path)
    return path


def can_overlay(folder):
    """Whether the kernel mounts overlays here; copying every layer whole is slow."""
    for name in ("lower", "upper", "work", "merged"):
        os.makedirs(os.path.join(folder, "try", name))
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", layers, "merged"],
                           cwd=os.path.join(folder, "try"), stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(os.path.join(folder, "try"), ignore_errors=True)
    return tried.returncode == 0


class Buildah:
    """buildah with a storage of its own."""

    def __init__(self, folder):
        need("buildah")
        driver = "overlay" if can_overlay(folder) else "vfs"
        self.command = ["buildah", "--root", os.path.join(folder, "storage"), "--runroot",
                        os.path.join(folder, "runroot"), "--storage-driver", driver]

    def __call__(self, *arguments, **options):
        return run(*self.command, *arguments, **options).strip()


def compiled():
    """The folder in which ccache keeps what is compiled. The package is built several times, here and for the image, and
    mostly compiles the same; ccache only takes what the same compiler made of the same text by the same options."""
    folder = os.path.join(CACHE, "ccache")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "ccache.conf"), "w", encoding="ascii") as file:
        file.write("max_size = 200M\nsloppiness = locale\n")  # the language of warnings
    return folder


def find_process(*words):
    """The pid of the process whose command line is exactly these words; None where there is none."""
    wanted = "\0".join(words).encode() + b"\0"
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if file.read() == wanted:
                    return int(path.split("/")[2])
        except OSError:
            pass
    return None
