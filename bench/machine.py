"""What machine this is, and whether it was left alone while it measured."""

import os
import re
import time

# Those that decide which kernels an engine takes.
FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
            "amx_bf16", "amx_int8", "asimddp", "bf16", "i8mm", "sve")


def cpu_fields():
    fields = {}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if not name.strip():
                break
            fields[name.strip()] = value.strip()
    return fields


def cpu_name():
    fields = cpu_fields()
    if "model name" in fields:
        return f"{fields['model name']}, family {fields.get('cpu family')} model {fields.get('model')}"
    return f"{os.uname().machine}, part {fields.get('CPU part', 'unknown')}"


def features():
    fields = cpu_fields()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return " ".join(name for name in FEATURES if name in flags)


def file_name():
    """<cpu>-<date>, in lower case and without what a file name should not hold."""
    name = re.sub(r"\((r|tm)\)", "", cpu_name().lower())
    name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return f"{name}-{time.strftime('%Y-%m-%d')}"


def busy_seconds(cpus):
    """Of these cores since the start: user, nice, system, interrupts, and what a hypervisor took."""
    ticks = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            found = re.match(r"cpu(\d+) (.*)", line)
            if found and int(found.group(1)) in cpus:
                values = [int(value) for value in found.group(2).split()]
                ticks += sum(values[:3]) + sum(values[5:8])
    return ticks / os.sysconf("SC_CLK_TCK")


class Watch:
    """Cores that were busy with something that is neither an engine nor this process."""

    def __init__(self, engines, threads):
        self.engines = list(engines)
        self.cpus = set(sorted(os.sched_getaffinity(0))[:threads])
        self.begin = time.monotonic()
        self.busy = self.foreign()

    def foreign(self):
        own = time.process_time()
        for engine in self.engines:
            if engine.process:
                own += engine.cpu_seconds()
        return busy_seconds(self.cpus) - own

    def others(self):
        if any(engine.process is None for engine in self.engines):
            return 0.0  # one went meanwhile, and its CPU time with it
        return max(0.0, (self.foreign() - self.busy) / (time.monotonic() - self.begin))
