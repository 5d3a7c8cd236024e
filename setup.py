"""The compiled modules: every `_ext/NAME.pyx` becomes `prime_server._ext.NAME`.

`PRIME_SERVER_COVERAGE=1` builds them to count what runs, for gcov; `PRIME_SERVER_SANITIZE=1` with the address and undefined-behaviour sanitizers
(the Makefile does both in trees of their own). The compiler's target is the platform's baseline: faster instructions are chosen at run time.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

counted = os.environ.get("PRIME_SERVER_COVERAGE") == "1"
sanitized = os.environ.get("PRIME_SERVER_SANITIZE") == "1"

compile_args = ["-O2", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wno-unreachable-code"]
link_args: list[str] = []
if sanitized:
    link_args = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", *link_args]
elif counted:
    link_args = ["--coverage"]
    compile_args += ["-O1", "-g0", "-fprofile-update=atomic", *link_args]
elif "CFLAGS" not in os.environ:
    compile_args.append("-g0")  # Python's own flags often hold -g, which makes a module ten times its size

# Loops over a few vectors stay in registers only where they are unrolled in full, which GCC does from -O3 on: a tenth to a quarter of the time.
vectorized = [] if sanitized or counted else ["-O3"]

extensions = [
    Extension(
        f"prime_server._ext.{source.stem}",
        [source.as_posix()],
        depends=[header.as_posix() for folder in ("_ext", "prime_server/_ext") for header in Path(folder).glob("*.h")],
        include_dirs=["_ext", "prime_server/_ext"],
        extra_compile_args=compile_args + (vectorized if source.stem == "primality" else []),
        extra_link_args=link_args,
        libraries=["dl"] if os.uname().sysname == "Linux" else [],
    )
    for source in sorted(Path("_ext").glob("*.pyx"))
]

# A module's own .pxd isn't found as what it depends on, as it lies elsewhere: modules that disagree about a struct would crash.
newest = max(face.stat().st_mtime for face in Path("prime_server/_ext").glob("*.pxd"))
for translated in Path("_ext").glob("*.c"):
    if translated.stat().st_mtime < newest:
        translated.unlink()

modules = cythonize(
    extensions,
    nthreads=os.cpu_count() or 1,
    compiler_directives={
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": False,
        "binding": True,
    },
)

setup(ext_modules=modules, options={"build_ext": {"parallel": os.cpu_count() or 1}})
