"""Which of a socket's peers has gone."""

import zmq

class Watch:
    """Of a PAIR connected to a socket's monitor; nothing more here for Python."""

    def __init__(self, monitor: zmq.Socket[bytes]) -> None: ...
