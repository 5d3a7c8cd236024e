"""A worker process's tie to the one that started it: neither is left behind when the other goes.

The process holds one end of a socket pair. It says `ready` there once its application is loaded, or why it can't be; and when the other end closes,
because the supervisor has ended in whatever way, it ends too.
"""

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["Lifeline"]

GRACE = 2.0  # seconds to leave in order once the supervisor is gone
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Lifeline:
    """The end that a worker process holds; `descriptor` is inherited."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)  # what the user's code starts would hold it open when this process is gone
        if sys.platform == "linux":
            # Also where user code holds the GIL for good and no thread of Python's could notice.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def say(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def ready(self) -> None:
        """Says that the application is loaded, and watches from now on."""
        self.say("ready\n")
        threading.Thread(target=self._watch, name="prime-lifeline", daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                if not os.read(self._descriptor, 1024):
                    break
            except OSError:
                break
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)
