"""The fuzz targets hold for a moment; `python -m tests.fuzz.NAME --seconds N` runs one for longer."""

import importlib
import sys

import pytest
from conftest import CHECKOUT

TARGETS = ["http_request", "http_response", "netstring", "payload", "info"]


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_target(name, monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    monkeypatch.delitem(sys.modules, "tests", raising=False)
    runner = importlib.import_module("tests.fuzz.runner")
    module = importlib.import_module(f"tests.fuzz.{name}")
    runs, ways = runner.loop(module.target, module.SEEDS if hasattr(module, "SEEDS") else runner.requests(), module.TOKENS, 1.5, seed=1)
    assert runs > len(getattr(module, "SEEDS", ())) and ways > 1
