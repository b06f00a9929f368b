import signal
import sys


def stop(number, frame):
    print("stopped", flush=True)
    sys.exit(5)


signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
