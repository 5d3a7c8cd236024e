"""The fuzz targets hold for a moment; `python -m tests.fuzz.NAME --seconds N` runs one for longer."""

import importlib
import sys

import pytest
from fuzz.runner import loop, requests

TARGETS = ["http_request", "http_response", "netstring", "payload", "info", *["direct"] * (sys.platform == "linux")]


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_target(name: str) -> None:
    module = importlib.import_module(f"fuzz.{name}")
    runs, ways = loop(module.target, module.SEEDS if hasattr(module, "SEEDS") else requests(), module.TOKENS, 1.5, seed=1)
    assert runs > len(getattr(module, "SEEDS", ())) and ways > 1
