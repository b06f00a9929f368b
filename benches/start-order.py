#!/usr/bin/env python3
"""Writes .cargo/start.ld, which puts the functions, constants and variables of a start side by side in the binary.

    benches/start-order.py BINARY MAP [BINARY MAP ...]

BINARY is a release build, of musl or of glibc, and MAP what its linker wrote of it
(cargo rustc --release -- -C link-arg=-Wl,-Map=MAP). The more builds, the better: of functions that are the
same, the linker keeps the one or the other, as it comes. What they execute and read at a start, sealed or not
and unregistered, then registered, is what valgrind sees. It needs root, for a seal in a mount namespace. The
kernel maps a program by windows of 16 pages: of functions that are spread all over it, a start would touch
ten times as many.

Symbols have hashes and numbers in them that differ from one compiler to the next, for which any will do.
What matches nothing is without effect. Constants without a name come behind those with one, all together: any
of them may be a start's. Variables come where the kernel touches a page anyway to clear what is behind the file's
data.
"""

import re
import socket
import subprocess
import sys
import tempfile
from bisect import bisect
from contextlib import contextmanager
from pathlib import Path

SHA = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "NODE_ENV": "production", "GIT_SHA": SHA, "EXPECTED_GIT_SHA": SHA}
OUTPUT = Path(__file__).resolve().parent.parent / ".cargo" / "start.ld"
HEAD = """\
/* The functions, constants and variables of a start, side by side: written by benches/start-order.py. */
"""
SECTION = """\
SECTIONS {{
    {kind}.start : {{
{lines}    }}
}}
INSERT {where} {kind};
"""
KINDS = {".text": "BEFORE", ".rodata": "BEFORE", ".data": "AFTER", ".bss": "BEFORE"}
WITHOUT_NAME = ["*(.rodata..Lanon.*)"]
# Each with its options, and where in its output an address stands. Below the second the shim is so slow that
# the guards' time for reading a command is over early: it would not see all that is executed.
TOOLS = [
    (["callgrind", "--dump-instr=yes", "--compress-pos=no", "--callgrind-out-file={output}"], r"^0x([0-9a-f]+) "),
    (["lackey", "--trace-mem=yes", "--log-file={output}"], r"^ [LSM] ([0-9a-f]+),"),
]
# What the child does before it executes the worker, of which valgrind loses sight then; what the compiler calls
# in one build and inlines in another; and what glibc does where there is a vdso(7) or a newer processor.
UNSEEN = re.compile(
    "_13version_guard6system5spawn5spawn|_13version_guard6system7signals7restore|clone8callback"
    r"|^\.text\.str(len|cmp) |^\.text .*dl-(object|lookup|setup_hash)\.o"
    r"|^\.text\.evex\w* .*(memmove|memset|memcmp|memchr|strlen|strchr)-(evex|avx512)"
)


@contextmanager
def redis():
    """A Redis of its own, as a URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--daemonize", "no"]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout:
            if "Ready to accept" in line:
                break
        yield f"redis://127.0.0.1:{port}"
        server.terminate()


def touched(binary, more, *worker, is_sealed=True):
    """The addresses that a run with these variables executes, reads and writes."""
    addresses = []
    with tempfile.TemporaryDirectory() as folder:
        seal = Path(folder, "etc", "version-guard", "image.json")
        seal.parent.mkdir(parents=True)
        if is_sealed:
            seal.write_text(f'{{"gitSha": "{SHA}", "buildDate": "2026-01-08T12:00:00Z"}}\n')
        mounted = ["unshare", "--mount", "sh", "-c", f'mount --bind {folder}/etc /etc && exec "$@"', "sh"]
        output = Path(folder, "output")
        for (name, *options), address in TOOLS:
            tool = ["valgrind", f"--tool={name}", *(option.format(output=output) for option in options)]
            command = [*mounted, *tool, binary, "run", "--", *worker]
            # With a descriptor to inherit, as some runtimes leave one.
            with output.open("w") as inherited:
                how = {"pass_fds": [inherited.fileno()], "check": True, "capture_output": True}
                subprocess.run(command, env=ENVIRONMENT | more, **how)
            addresses += re.findall(address, output.read_text(), re.MULTILINE)
    return [int(address, 16) for address in addresses]


def placed(link_map):
    """The sections that the linker has placed, by address: name, file it came from, and size."""
    text = Path(link_map).read_text()
    # As GNU's linker writes it, and as LLVM's does.
    found = re.findall(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", text, re.MULTILINE)
    for start, size, file, name in re.findall(
        r"^ *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +[0-9]+ +(\S.*):\((\.\S+)\)$", text, re.MULTILINE
    ):
        found.append((name, start, size, file))
    return sorted((int(start, 16), name, file, int(size, 16)) for name, start, size, file in found if int(size, 16))


def at_start(binary, link_map):
    """The sections of what a start touches: of each one, and what is more of one with a registration."""
    sections = placed(link_map)
    starts = [start for start, *_ in sections]
    worker = ["/bin/sleep", "1"]
    plain = touched(binary, {}, *worker) + touched(binary, {}, *worker, is_sealed=False)
    unseen = [start for start, name, file, _ in sections if UNSEEN.search(f"{name} {file}")]
    with redis() as url:
        registered = touched(binary, {"WORKER_TYPE": "worker", "REDIS_URL": url}, *worker)
    # Below the first is what the C library brings.
    places = ([bisect(starts, address) - 1 for address in part] for part in (plain + unseen, registered))
    return [[sections[place][1:] for place in part if place >= 0] for part in places]


def without_instantiating_crate(name):
    """Of the crates that use a generic function with the same types, any may have it made."""
    crate = re.search(r"(?:C\*_(\d+)([a-z_][a-z0-9_]*)|B\*_)(?:\.\*)?$", name)
    if crate and (crate[1] is None or int(crate[1]) == len(crate[2])):
        return f"{name[: crate.start()]}*"
    return name


def patterns(section, file):
    """Patterns for the section, in which any hash and any number does; none for one without a name.

    Rust's own library comes built, and with older compilers under other symbols: _ZN, names, a hash.
    """
    kind, symbol = re.fullmatch(r"(\.text(?:\.unlikely|\.hot)?|\.rodata|\.data|\.bss)\.?(.*)", section).groups()
    if kind == ".rodata" and symbol.startswith((".Lanon", "str")) or symbol.startswith("rel."):
        return
    # The sections of glibc are of a file each, or of all that is written for one processor: .text.evex.
    if not symbol or file.endswith(".o)"):
        # Of those for programs there are variants: Scrt1.o, crtbeginT.o.
        member = re.search(r"([^/(]+)\)?$", file)[1]
        member = re.sub(r"^[A-Z]?(crt1|crtbegin)[A-Z]?\.o$", r"\1*.o", member.removesuffix(")"))
        yield f"*:*{member}({section})" if file.endswith(")") else f"*{member}({section})"
        return
    # The compiler numbers some variables in one build and not in another.
    symbol = re.sub(r"\.\d+$", "", symbol) + "*" if kind in (".data", ".bss") else re.sub(r"\.\d+$", ".*", symbol)
    name = re.sub(r"Cs[0-9A-Za-z]+_|(?<=[A-Z])B[0-9A-Za-z]*_", lambda one: f"{one[0][0]}*_", symbol)
    yield f"*({kind}.{without_instantiating_crate(name)})"
    # What the compiler takes for cold is not so at a start, which grows its first vectors.
    if kind == ".text" and re.search("finish_grow|grow_one|grow_amortized", symbol):
        yield f"*(.text.unlikely.{name})"
    built = re.fullmatch(r"_RNv(?:M[^C]*)?(?:Nt)*Cs[0-9A-Za-z]+_((?:3std|4core|5alloc)[^I.]*)", symbol)
    if kind == ".text" and built and "Cs" not in built[1]:
        path = re.split(r"(?:Nt)?B[0-9A-Za-z]*_", built[1])
        yield f"*(.text._ZN{'*'.join(part for part in path if part)}17h*)"


def main():
    builds = [at_start(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]
    # What each start touches comes first, of all builds.
    sections = dict.fromkeys(section for part in zip(*builds) for build in part for section in build)
    text = HEAD
    for kind, where in KINDS.items():
        of_kind = [section for section in sections if section[0] == kind or section[0].startswith(f"{kind}.")]
        if kind == ".bss":
            # As many of them as the page has room for.
            of_kind.sort(key=lambda section: section[2])
        lines = list(dict.fromkeys(pattern for name, file, _ in of_kind for pattern in patterns(name, file)))
        if where == "AFTER":
            lines.reverse()
        if kind == ".rodata":
            lines += WITHOUT_NAME
        text += SECTION.format(kind=kind, where=where, lines="".join(f"        {line}\n" for line in lines))
        print(f"{OUTPUT}: {len(lines)} patterns for {kind}")
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
