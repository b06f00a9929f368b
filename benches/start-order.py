#!/usr/bin/env python3
"""Writes .cargo/start.ld, which puts the functions of a start side by side in the binary.

    benches/start-order.py BINARY

BINARY is a release build with its symbols (CARGO_PROFILE_RELEASE_STRIP=none), of musl or of glibc. What it
calls at a start, sealed and unregistered, then registered, is what valgrind sees. It needs root, for a seal
in a mount namespace. The kernel maps a program by pages: of functions that are spread all over it, a start
would touch three times as many.

Symbols have hashes in them that differ from one compiler to the next, for which any will do. What matches
no function is without effect.
"""

import re
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

SHA = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "NODE_ENV": "production", "GIT_SHA": SHA, "EXPECTED_GIT_SHA": SHA}
OUTPUT = Path(__file__).resolve().parent.parent / ".cargo" / "start.ld"
HEAD = """\
/* The functions of a start, side by side: written by benches/start-order.py. */
SECTIONS {
    .text.start : {
"""
TAIL = """\
    }
}
INSERT BEFORE .text;
"""


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


def called(binary, more, *worker):
    """The symbols of all functions that a run with these variables calls, in the order in which they are seen."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile")
        seal = Path(folder, "etc", "version-guard", "image.json")
        seal.parent.mkdir(parents=True)
        seal.write_text(f'{{"gitSha": "{SHA}", "buildDate": "2026-01-08T12:00:00Z"}}\n')
        sealed = ["unshare", "--mount", "sh", "-c", f'mount --bind {folder}/etc /etc && exec "$@"', "sh"]
        valgrind = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={profile}"]
        command = [*sealed, *valgrind, binary, "run", "--", *worker]
        subprocess.run(command, env=ENVIRONMENT | more, check=True, capture_output=True)
        names = re.findall(r"^c?fn=\(\d+\) (\S+)", profile.read_text(), re.MULTILINE)
    return [name.split("'")[0] for name in names]


def defined(binary):
    """The symbols of all functions in the binary."""
    symbols = subprocess.run(["nm", "--defined-only", binary], check=True, capture_output=True, text=True)
    return {line.split()[2] for line in symbols.stdout.splitlines() if line.split()[1] in "tTwW"}


def patterns(symbol):
    """Patterns for the function's section, in which any hash does.

    Rust's own library comes built, and with older compilers under other symbols: _ZN, names, a hash.
    """
    name = re.sub(r"Cs[0-9A-Za-z]+_|(?<=[A-Z])B[0-9A-Za-z]*_", lambda one: f"{one[0][0]}*_", symbol)
    yield f".text.{name}"
    # What the compiler takes for cold is not so at a start, which grows its first vectors.
    if "finish_grow" in symbol or "grow_one" in symbol or "grow_amortized" in symbol:
        yield f".text.unlikely.{name}"
    built = re.fullmatch(r"_RNv(?:M[^C]*)?(?:Nt)*Cs[0-9A-Za-z]+_((?:3std|4core|5alloc)[^I]*)", symbol)
    if built and "Cs" not in built[1]:
        path = re.split(r"(?:Nt)?B[0-9A-Za-z]*_", built[1])
        yield f".text._ZN{'*'.join(part for part in path if part)}17h*"


def main():
    [binary] = sys.argv[1:]
    functions = defined(binary)
    symbols = called(binary, {}, "/bin/true")
    with redis() as url:
        symbols += called(binary, {"WORKER_TYPE": "worker", "REDIS_URL": url}, "/bin/sleep", "1")
    # What the child does before it executes the worker, of which valgrind loses sight then.
    in_child = re.compile("_13version_guard6system5spawn5spawn|_13version_guard6system7signals7restore|clone8callback")
    symbols += sorted(symbol for symbol in functions if in_child.search(symbol))
    sections = [one for symbol in dict.fromkeys(symbols) if symbol in functions for one in patterns(symbol)]
    lines = [f"        *({one})\n" for one in dict.fromkeys(sections)]
    OUTPUT.write_text(HEAD + "".join(lines) + TAIL)
    print(f"{OUTPUT}: {len(lines)} patterns")


if __name__ == "__main__":
    main()
