"""Stands in for the real worker: one job after the other, and at SIGTERM the one in hand is finished."""

import itertools
import signal
import time

stopping = False


def stop(_signal, _frame):
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
for job in itertools.count(1):
    print(f"job {job} taken")
    time.sleep(2)
    print(f"job {job} done")
    if stopping:
        break
