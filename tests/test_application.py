"""Loading a work function by its name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prime_server.application import ApplicationError, load

MODULES = {
    "ps_app_good": "from prime_server.echo import echo\nclass Model:\n    @staticmethod\n    def work(job): ...\ndef work(job): ...\nnumber = 7\n",
    "ps_app_raises": "import os\nraise RuntimeError('no model\\nin sight')\n",
    "ps_app_wants": "import a_module_that_is_nowhere\n",
    "ps_app_syntax": "def work(job:\n",
    "ps_app_async": "async def work(job): ...\nclass Model:\n    async def __call__(self, job):\n        yield\nmodel = Model()\n",
    "ps_app_exits": "raise SystemExit(3)\n",
    "ps_app_package.inner": "def work(job): ...\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize("spec", ["ps_app_good:work", "ps_app_good:Model.work", "ps_app_good:echo", "ps_app_package.inner:work"])
def test_loads_what_is_below_the_current_directory(modules: None, spec: str) -> None:
    found = load(spec)
    assert callable(found) or type(found).__name__ == "NativeWork"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("work", "should be module:function"),
        ("app.py:work:x", "should be module:function"),
        ("ps app:work", "should be module:function"),
        ("ps_app_nowhere:work", "no module ps_app_nowhere"),
        ("ps_app_nowhere.inner:work", "no module ps_app_nowhere"),
        ("ps_app_wants:work", "No module named 'a_module_that_is_nowhere'"),
        ("ps_app_raises:work", "RuntimeError: no model in sight"),
        ("ps_app_syntax:work", "SyntaxError"),
        ("ps_app_exits:work", "SystemExit: 3"),
        ("ps_app_good:wrok", "no attribute 'wrok'"),
        ("ps_app_good:number", "of type int"),
        ("ps_app_good.py:work", "without .py, as ps_app_good"),
        ("ps_app_async:work", "this one is async"),
        ("ps_app_async:model", "this one is async"),
    ],
)
def test_says_in_one_line_what_is_wrong(modules: None, spec: str, words: str) -> None:
    with pytest.raises(ApplicationError) as caught:
        load(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert spec in str(caught.value)


def test_says_where_in_the_users_code(modules: None) -> None:
    with pytest.raises(ApplicationError, match=r"ps_app_raises\.py, line 2"):
        load("ps_app_raises:work")
