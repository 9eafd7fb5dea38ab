#!/usr/bin/env python3
"""What the linker and the compiler made of the server's binary, read from the file."""

import argparse
import os
import re
import struct
import sys

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 3, 0x6474E551, 0x6474E552
EXECUTE, WRITE = 1, 2
DT_NULL, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_TEXTREL, DT_FLAGS = 0, 5, 6, 10, 22, 30
DT_RPATH, DT_RUNPATH, DT_GNU_HASH, DT_FLAGS_1 = 15, 29, 0x6FFFFEF5, 0x6FFFFFFB
BIND_NOW, NOW_1, PIE_1 = 8, 1, 0x08000000
EM_X86_64, EM_AARCH64, ET_DYN = 62, 183, 3
BUILT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "server", "rerankd")
FLAGS = ["-fstack-protector-strong", "-fstack-clash-protection"]


class Elf:
    """A little-endian ELF file of 64 bits."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        assert self.data[:6] == b"\x7fELF\x02\x01", "no 64-bit little-endian ELF file"
        self.type, self.machine = struct.unpack_from("<HH", self.data, 16)
        at, = struct.unpack_from("<Q", self.data, 32)
        size, count = struct.unpack_from("<HH", self.data, 54)
        # type, flags, offset, address, (physical), size in the file, size in memory
        self.segments = [struct.unpack_from("<IIQQQQQ", self.data, at + i * size) for i in range(count)]

    def of_type(self, wanted):
        return [segment for segment in self.segments if segment[0] == wanted]

    def offset(self, address):
        for _, _, offset, start, _, size, _ in self.of_type(PT_LOAD):
            if start <= address < start + size:
                return offset + address - start
        raise AssertionError(f"no segment holds {address:#x}")

    def dynamic(self):
        _, _, offset, _, _, size, _ = self.of_type(PT_DYNAMIC)[0]
        entries = {}
        for at in range(offset, offset + size, 16):
            tag, value = struct.unpack_from("<QQ", self.data, at)
            if tag == DT_NULL:
                break
            entries.setdefault(tag, value)
        return entries

    def imports(self):
        """Names of dynamic symbols that are defined elsewhere. The string table follows the symbols."""
        tags = self.dynamic()
        first, strings = self.offset(tags[DT_SYMTAB]), self.offset(tags[DT_STRTAB])
        names = set()
        for at in range(first, strings, 24):
            name, _, _, section = struct.unpack_from("<IBBH", self.data, at)
            if section == 0 and 0 < name < tags[DT_STRSZ]:
                names.add(self.data[strings + name:self.data.index(b"\0", strings + name)].decode())
        return names


def is_position_independent(elf):
    assert elf.type == ET_DYN and elf.of_type(PT_INTERP), "not a position-independent program"
    assert elf.dynamic().get(DT_FLAGS_1, 0) & PIE_1, "the PIE flag is not set"


def relocations_are_read_only(elf):
    assert len(elf.of_type(PT_GNU_RELRO)) == 1, "no RELRO segment"


def everything_is_bound_at_the_start(elf):
    tags = elf.dynamic()
    assert tags.get(DT_FLAGS, 0) & BIND_NOW or tags.get(DT_FLAGS_1, 0) & NOW_1, "bound lazily"


def the_stack_is_not_code(elf):
    stacks = elf.of_type(PT_GNU_STACK)
    assert len(stacks) == 1 and not stacks[0][1] & EXECUTE, stacks


def no_memory_is_both_written_and_run(elf):
    both = [segment for segment in elf.of_type(PT_LOAD) if segment[1] & (EXECUTE | WRITE) == EXECUTE | WRITE]
    assert not both and DT_TEXTREL not in elf.dynamic(), both


def no_library_is_looked_for_where_others_write(elf):
    tags = elf.dynamic()
    assert DT_RPATH not in tags, "RPATH"
    if DT_RUNPATH in tags:
        start = elf.offset(tags[DT_STRTAB]) + tags[DT_RUNPATH]
        for folder in elf.data[start:elf.data.index(b"\0", start)].decode().split(":"):
            assert re.match(r"(/usr)?/lib(64)?/", folder + "/"), folder  # where OpenBLAS lives on Debian


def stacks_have_canaries(elf):
    assert "__stack_chk_fail" in elf.imports(), "nothing refers to __stack_chk_fail"


def libc_calls_are_checked(elf):
    checked = {name for name in elf.imports() if re.fullmatch(r"__\w+_chk", name)}
    assert {"__snprintf_chk", "__vsnprintf_chk"} <= checked, checked


def the_compiler_was_asked_for_the_rest(elf):
    """By the debug information, where the compiler notes its flags."""
    wanted = FLAGS + {EM_X86_64: ["-fcf-protection=full"], EM_AARCH64: ["-mbranch-protection=standard"]}.get(
        elf.machine, [])
    producers = [text.decode() for text in re.findall(rb"GNU C11 [ -~]+", elf.data)]
    assert len(producers) > 1, "no debug information of gcc"
    for flag in wanted:
        assert all(flag in producer for producer in producers), (flag, producers)


CHECKS = [is_position_independent, relocations_are_read_only, everything_is_bound_at_the_start,
          the_stack_is_not_code, no_memory_is_both_written_and_run, no_library_is_looked_for_where_others_write,
          stacks_have_canaries, libc_calls_are_checked, the_compiler_was_asked_for_the_rest]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?", default=os.environ.get("RERANKD_BIN", BUILT),
                        help="(default: $RERANKD_BIN, or else build/server/rerankd)")
    arguments = parser.parse_args()
    try:
        elf = Elf(arguments.binary)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    failed = 0
    print(f"1..{len(CHECKS)}")
    for number, check in enumerate(CHECKS, start=1):
        name = check.__name__.replace("_", " ")
        try:
            check(elf)
            print(f"ok {number} - the binary: {name}")
        except AssertionError as problem:
            failed += 1
            print(f"not ok {number} - the binary: {name}\n# {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
