"""A worker that takes jobs from jobs:$WORKER_TYPE and puts results into results:$WORKER_TYPE.

A job is a name and the seconds it takes.
"""

import os
import signal
import socket
import time
from urllib.parse import urlsplit


class Redis:
    """Commands and their replies over one TCP connection."""

    def __init__(self, url):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port or 6379))
        self.replies = self.socket.makefile("rb")

    def command(self, *words):
        request = b"*%d\r\n" % len(words)
        for word in words:
            word = word.encode()
            request += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(request)
        return self._reply()

    def _reply(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RuntimeError(rest)
        if kind in b"$*" and rest == "-1":
            return None
        if kind == b"$":
            return self.replies.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest


def main():
    worker_type, git_sha = os.environ["WORKER_TYPE"], os.environ["GIT_SHA"]
    stopping = False

    def stop(_signal, _frame):
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    redis = Redis(os.environ["REDIS_URL"])
    while not stopping:
        # Leaving in the middle of a BLPOP could lose the job that Redis is just handing out, so
        # each one ends by itself after a second.
        taken = redis.command("BLPOP", f"jobs:{worker_type}", "1")
        if taken is None:
            continue
        name, seconds = taken[1].split(" ")
        time.sleep(float(seconds))
        redis.command("RPUSH", f"results:{worker_type}", f"{name} done by {git_sha}")


main()
