#!/usr/bin/env python3
"""Holds the modules of src/ to the floors that main.rs names: tests/house.py [--self-test]

It reads the `use` lines and the paths in the code, unit tests left out, and fails where a module uses
one of a floor above it, where modules use each other in a circle, also within one room, or where a
file has grown too long. With --self-test it plants such faults in a copy and fails if one is missed.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

MAX_LINES = 300

# From top to bottom: main.rs, then each group of modules that main.rs declares without a blank line.
ROOT = "main"


def modules(src):
    """Each module's path, such as ("registry", "key"), and its file."""
    found = {}
    for file in sorted(src.rglob("*.rs")):
        parts = file.relative_to(src).with_suffix("").parts
        if parts[-1] == "mod":
            parts = parts[:-1]
        found[parts] = file
    return found


def code(file):
    """The file's text without comments and without its unit tests."""
    text = re.sub(r"//.*", "", file.read_text())
    return re.split(r"#\[cfg\(test\)\]\s*mod tests", text)[0]


def floors(src):
    """The number of each top module's floor, counted from the top."""
    found = {ROOT: 0}
    for number, group in enumerate(re.split(r"\n\s*\n", code(src / "main.rs")), 1):
        for name in re.findall(r"^mod (\w+);", group, re.M):
            found[name] = number
    return found


def paths(use):
    """The paths in the tree of a `use` declaration."""
    head, brace, rest = use.partition("{")
    if not brace:
        return [re.sub(r"\s+as\s+\w+", "", head).strip()]
    items, depth, item = [], 0, ""
    for character in rest.rsplit("}", 1)[0]:
        if character == "," and depth == 0:
            items.append(item)
            item = ""
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        item += character
    items.append(item)
    return [path for item in items if item.strip() for path in paths(head.strip() + item.strip())]


def used(module, text, known):
    """The modules that a module's code names."""
    named = set()
    declared = re.findall(r"\buse\s+([^;]+);", text)
    inline = re.findall(r"\b(?:crate|super|self)(?:::\w+)+", text)
    for path in [path for use in declared for path in paths(use)] + inline:
        parts = path.split("::")
        base = list(module)
        if parts[0] == "crate":
            base, parts = [], parts[1:]
        elif parts[0] in ("self", "super"):
            while parts and parts[0] in ("self", "super"):
                if parts.pop(0) == "super":
                    base = base[:-1]
        elif (*module, parts[0]) not in known:
            if module != (ROOT,) or (parts[0],) not in known:
                continue
            base = []
        target = tuple(base + parts)
        while target and target not in known:
            target = target[:-1]
        if target and target != module:
            named.add(target)
    return named


def circles(graph):
    """The strongly connected components of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while not circle or circle[-1] != node:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def faults(src):
    """A sentence for each fault."""
    known = modules(src)
    graph = {module: used(module, code(file), known) for module, file in known.items()}
    floor = floors(src)
    name = "::".join
    found = []
    for module, others in graph.items():
        for other in sorted(others):
            if floor.get(other[0], 0) < floor.get(module[0], 0):
                found.append(f"{name(module)} uses {name(other)}, which is on a floor above it")
    rooms = {}
    for module, others in graph.items():
        rooms.setdefault((module[0],), set()).update((other[0],) for other in others)
    for room, others in rooms.items():
        others.discard(room)
    for circle in circles(graph) + circles(rooms):
        found.append("a circle: " + ", ".join(name(module) for module in circle))
    for module, file in known.items():
        lines = re.split(r"#\[cfg\(test\)\]\s*mod tests", file.read_text())[0].count("\n")
        if lines > MAX_LINES:
            found.append(f"{name(module)} has {lines} lines without its tests: more than {MAX_LINES}")
    return found


def self_test(src):
    """Plants faults, each in a copy of its own, and tells which are missed."""
    planted = [
        ("guard/violation.rs", "use crate::commands::run;\n", "on a floor above"),
        ("registry/key.rs", "use crate::{config, exit};\n", "on a floor above"),
        ("registry/connection/dial.rs", "use super::super::session::Session;\n", "a circle"),
        ("image/identity.rs", "use crate::guard::Violation;\n", "a circle"),
        ("escape.rs", "use crate::clean::{self, clean};\nfn f() { crate::registry::age(0, 0); }\n", "above"),
        ("supervisor/signal.rs", "use super::Supervisor;\n", "a circle"),
        ("exit.rs", "\n" * MAX_LINES, "lines"),
    ]
    missed = []
    for file, text, word in planted:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(src, Path(folder) / "src"))
            file = copy / file
            file.write_text(text + file.read_text())
            if not any(word in fault for fault in faults(copy)):
                missed.append(f"not found out: {text.strip()!r} in {file.name}")
    return missed


def main():
    src = Path(__file__).resolve().parent.parent / "src"
    found = self_test(src) if sys.argv[1:] == ["--self-test"] else faults(src)
    for fault in found:
        print(fault)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
