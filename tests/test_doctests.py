"""The examples in docstrings are true: those of the stubs, where the compiled modules have theirs, and those of the Python modules."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import prime_server

PACKAGE = Path(prime_server.__file__).parent
FILES = [path for path in sorted([*PACKAGE.rglob("*.pyi"), *PACKAGE.rglob("*.py")]) if ">>>" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_examples(path: Path) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    runner = doctest.DocTestRunner()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            example = doctest.DocTestParser().get_doctest(text, dict(vars(module)), getattr(node, "name", name), str(path), node.body[0].lineno)
            assert runner.run(example).failed == 0
