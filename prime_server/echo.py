"""The work function of `prime_echod`: answers a request with its body, or with its target where there is no body."""

from prime_server._ext.nativework import NativeWork
from prime_server._ext.stages import ECHO

__all__ = ["echo"]

echo = NativeWork(ECHO)
