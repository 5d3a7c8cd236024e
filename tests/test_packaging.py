"""What is built and published: contents of the source distribution and of the wheel, and that the wheel runs where nothing else is installed."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import CHECKOUT

from prime_server import __version__

pytestmark = pytest.mark.checkout

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text()) if (CHECKOUT / "pyproject.toml").exists() else {}
MODULES = sorted(path.stem for path in (CHECKOUT / "_ext").glob("*.pyx"))
FACES = sorted(path.name for kind in ("pxd", "pyi", "h") for path in (CHECKOUT / "prime_server" / "_ext").glob(f"*.{kind}"))


def run(*arguments: str | Path, cwd: Path = CHECKOUT, timeout: float = 300, **environment: str) -> str:
    ran = subprocess.run(
        list(map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    assert ran.returncode == 0, f"{arguments} ended with {ran.returncode}:\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", out)
    return next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as installers do it, and without a warning of the C compiler."""
    out = tmp_path_factory.mktemp("wheel")
    run("tar", "-xzf", sdist, "-C", out)  # tarfile's own filter came with Python 3.11.4
    source = out / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, source, cwd=out, CFLAGS="-Wall -Wextra -Werror")
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_source_distribution_builds_by_itself(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"_ext/{name}.pyx" for name in MODULES} <= names
    assert {f"prime_server/_ext/{name}" for name in FACES} <= names
    assert {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "_ext").glob("*.h")} <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "tests/conftest.py", "bench/throughput.py"} <= names
    made = {f"_ext/{name}.c" for name in MODULES}  # the others are sources of ours
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name in made]


@pytest.mark.slow
def test_the_wheel_has_both_faces(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "prime_server/py.typed" in names
    assert {f"prime_server/_ext/{name}" for name in FACES} <= names
    for module in MODULES:
        assert any(re.fullmatch(rf"prime_server/_ext/{module}\.[^/]*\.so", name) for name in names), module
    assert not [name for name in names if name.endswith((".pyx", ".c"))]
    assert not [name for name in names if name.startswith(("tests/", "bench/", "_ext/"))]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / "bin"
    run(bin / "python", "-m", "pip", "install", "-q", wheel)
    assert run(bin / "prime_serverd", "10000", "2", cwd=tmp_path).splitlines()[-1] == "2261 primes found"
    probe = "from prime_server import is_prime; print(is_prime(2**61 - 1), is_prime(2**127 - 1), is_prime(2**61 - 3))"
    assert run(bin / "python", "-c", probe, cwd=tmp_path) == "True True False\n"
    assert run(bin / "python", "-m", "prime_server.commands.prime_echod", "--version", cwd=tmp_path).split()[-1] == __version__


def test_every_module_has_both_faces() -> None:
    """A stub, and a .pxd for those that others cimport, have the name of a module or declare C alone."""
    assert [name for name in MODULES if f"{name}.pyi" not in FACES] == []


def test_the_version_stands_in_one_place() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs the repository")
    listed = run("git", "grep", "-lF", __version__, "--", "*.py", "*.pyx", "*.toml", "*.cfg").split()
    assert listed == ["prime_server/version.py"]
    assert metadata.version("prime-server") == __version__


def test_no_build_for_this_machine_alone() -> None:
    for name in ("setup.py", "pyproject.toml", "Makefile"):
        assert "-march=native" not in (CHECKOUT / name).read_text()
        assert "-mtune=native" not in (CHECKOUT / name).read_text()


def test_the_run_time_needs_four_packages() -> None:
    assert sorted(re.findall(r"^[\w-]+", each)[0] for each in PROJECT["project"]["dependencies"]) == ["click", "gmpy2", "pyzmq", "tqdm"]


def test_the_wheels_that_would_be_published() -> None:
    pytest.importorskip("cibuildwheel")
    for platform, kinds in (("linux", {"manylinux_x86_64", "manylinux_aarch64"}), ("macos", {"macosx_x86_64", "macosx_arm64"})):
        listed = run(sys.executable, "-m", "cibuildwheel", "--platform", platform, "--print-build-identifiers", ".").split()
        pythons = {name.partition("-")[0] for name in listed}
        assert {"cp311", "cp312", "cp313"} <= pythons
        assert set(listed) == {f"{python}-{kind}" for python in pythons for kind in kinds}


@pytest.mark.parametrize(("backend", "lacks"), [("import _ctypes as _zmq", "zmq_msg_init"), ("", "zmq.backend.cython._zmq")])
def test_a_pyzmq_without_what_is_needed_is_named(tmp_path: Path, backend: str, lacks: str) -> None:
    """By its version and what it lacks: a symbol, or the whole module, as before pyzmq 26."""
    fake = tmp_path / "zmq"
    (fake / "backend" / "cython").mkdir(parents=True)
    (fake / "__init__.py").write_text("__version__ = '17.9.9'\ndef zmq_version():\n    return '4.1.0'\n")
    (fake / "backend" / "__init__.py").write_text("")
    (fake / "backend" / "cython" / "__init__.py").write_text(f"{backend}\n")
    probe = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import prime_server"
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False, cwd=CHECKOUT)
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: pyzmq 17.9.9 (libzmq 4.1.0) has no ")
    assert lacks in last
