#!/usr/bin/env python3
"""What the dialects declare in proto/dialects/NAME.c, against their parts of the OpenAPI document (NAME.py) and the table of
docs/api.md that says which API answers. Prints TAP."""

import argparse
import importlib.util
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "proto", "dialects")
ENDPOINT = re.compile(r'\{\s*"(?P<path>/[^"]*)",\s*&(?P<dialect>\w+),\s*(?P<rest>(?:[^{}]|\{[^{}]*\})*)\}')
STEPS = {"RR_TOLD_FIRST": 0, "RR_TOLD_BY_MEMBERS": 100, "RR_TOLD_BY_DOCUMENTS": 200, "RR_TAKES_THE_REST": 300}


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def names(extension):
    return sorted(name[:-len(extension)] for name in os.listdir(FOLDER) if name.endswith(extension))


def listed():
    """The build's list."""
    return re.findall(r"'(\w+)'", re.search(r"^dialects = \[(.*?)\]", text_of("proto", "dialects", "meson.build"),
                                            re.MULTILINE | re.DOTALL).group(1))


def endpoints(name):
    """(path, precedence, what tells it as docs/api.md has it, the dialect's name) of each entry of a file."""
    source = text_of("proto", "dialects", name + ".c")
    own = dict(re.findall(r'^static const rr_dialect (\w+) = \{\s*\.name = "([^"]+)"', source, re.MULTILINE))
    rows = re.search(r"^const rr_endpoint rr_endpoints_" + name + r"\[\] = \{(.*?)^\};", source, re.MULTILINE | re.DOTALL)
    found = list(ENDPOINT.finditer(rows.group(1)))
    assert found and len(found) == rows.group(1).count('"/'), f"{name}.c: not every endpoint is understood"
    for entry in found:
        rest = entry.group("rest")
        members = re.search(r"\.any = \{([^}]*)\}", rest)
        if "RR_TOLD_BY_TEXTS_ALONE" in rest:
            precedence, told = STEPS["RR_TOLD_FIRST"], "`texts` without `documents`"
        else:
            step, more = re.search(r"\.precedence = (\w+)(?: \+ (\d+))?", rest).groups()
            precedence = STEPS[step] + int(more or 0)
            told = ", ".join(f"`{member}`" for member in re.findall(r'"(\w+)"', members.group(1))) if members else ""
        yield entry.group("path"), precedence, told, own[entry.group("dialect")]


def documented():
    """(path, what tells it, API) of each row of the table, a row for each of its paths, in its order."""
    section = text_of("docs", "api.md").split("## Which API answers")[1].split("\n## ")[0]
    for paths, told, api in re.findall(r"^\| (`/.*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE):
        for path in re.findall(r"`(/[^`]*)`", paths):
            yield path, told, re.sub(r"[^a-z0-9]", "", api.split(",")[0].lower())


def files_are_those_of_the_list():
    assert listed() == names(".c") == names(".py"), (listed(), names(".c"), names(".py"))


def parts_describe_what_is_spoken():
    sys.path.insert(0, os.path.join(ROOT, "proto"))
    sys.dont_write_bytecode = True
    for name in listed():
        spec = importlib.util.spec_from_file_location(name, os.path.join(FOLDER, name + ".py"))
        part = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(part)
        declared = list(endpoints(name))
        assert {entry.path for entry in part.SPOKEN} == {entry[0] for entry in declared}, name
        rest = {entry[0] for entry in declared if entry[1] == STEPS["RR_TAKES_THE_REST"]}
        assert {entry.path for entry in part.PATHS} == rest, name


def the_documented_table_is_the_declared_one():
    declared = {}
    for name in listed():
        for path, precedence, told, dialect in endpoints(name):
            declared.setdefault(path, []).append((precedence, told, re.sub(r"[^a-z0-9]", "", dialect)))
    told_by_page = {}
    for path, told, api in documented():
        told_by_page.setdefault(path, []).append((told, api))
    for path, entries in sorted(declared.items()):
        wanted = [(told or ("any" if len(entries) == 1 else "none of these"), dialect)
                  for _, told, dialect in sorted(entries)]
        assert told_by_page.pop(path, None) == wanted, f"docs/api.md, {path}: it should say {wanted}"
    assert not told_by_page, f"docs/api.md: nobody takes {sorted(told_by_page)}"


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    cases = [files_are_those_of_the_list, parts_describe_what_is_spoken, the_documented_table_is_the_declared_one]
    print(f"1..{len(cases)}")
    failed = 0
    for number, case in enumerate(cases, start=1):
        try:
            case()
            print(f"ok {number} - {case.__name__}")
        except AssertionError as error:
            failed += 1
            print(f"# {error}\nnot ok {number} - {case.__name__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
