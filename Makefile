# The newcomer's two commands are `make run` and `make test`; both set up what they need below .venv, and again only what has changed.
# Stamp files say what has been done: .venv/.run (the package), .venv/.dev (the tools), build/*/.built (the other builds).

PYTHON ?= python3
LISTEN ?= tcp://127.0.0.1:8002
WORKERS ?= 2
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
PYTEST_ARGS ?=

BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

MODULES := $(wildcard _ext/*.pyx _ext/*.pxd _ext/*.pxi _ext/*.h prime_server/_ext/*.pxd prime_server/_ext/*.h)
SOURCES := $(MODULES) $(wildcard prime_server/*.py prime_server/*/*.py prime_server/*/*.pyi prime_server/py.typed)
BUILT := setup.py pyproject.toml README.md LICENSE $(SOURCES)

.PHONY: help run build test lint coverage test-lowest sanitize bench pseudoprimes wheel clean
.DEFAULT_GOAL := help

help:
	@echo 'make run          build into .venv and serve on $(LISTEN)'
	@echo 'make test         build, lint, run all tests, print the coverage'
	@echo 'make test-lowest  the tests against the lowest versions that pyproject.toml declares'
	@echo 'make sanitize     the tests under the address and undefined-behaviour sanitizers'
	@echo 'make bench        codecs, primality, throughput, and a soak with faults'
	@echo 'make wheel        source distribution and wheel into dist'
	@echo 'make clean        remove all that was built'

run: .venv/.run
	$(BIN)/prime_serverd $(LISTEN) $(WORKERS)

build: .venv/.run

# The compiled modules land in prime_server/_ext, and the installation points to the checkout.
.venv/.run: pyproject.toml setup.py $(MODULES)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import Cython, setuptools' 2>/dev/null || $(BIN)/pip install -qq 'setuptools>=77' 'Cython>=3.1'
	$(BIN)/python setup.py -q build_ext --inplace -j $(JOBS)
	@test .venv/.installed -nt pyproject.toml || $(BIN)/pip install -qq --no-build-isolation -e .
	@touch .venv/.installed $@

.venv/.dev: .venv/.run pyproject.toml
	@test $@ -nt pyproject.toml || $(BIN)/pip install -qq --no-build-isolation -e '.[dev]'
	@touch $@

.venv/.bench: .venv/.dev pyproject.toml
	@test $@ -nt pyproject.toml || $(BIN)/pip install -qq --no-build-isolation -e '.[bench]'
	@touch $@

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/cython-lint _ext prime_server
	$(BIN)/mypy

# First on a build that counts lines, then on the one that users get.
test: lint coverage
	$(BIN)/python -m pytest $(PYTEST_ARGS)

build/coverage/.built: .venv/.dev $(addprefix build/coverage/,$(BUILT))
	@cp _ext/*.c build/coverage/_ext/
	cd build/coverage && PRIME_SERVER_COVERAGE=1 CFLAGS=-w python setup.py -q build_ext --inplace -j $(JOBS)
	@touch $@

# PYTHONPATH puts the counting build before the installed one, for the commands that the tests start too. Those in tests/faults measure memory and
# time, and run on the build that users get.
coverage: build/coverage/.built
	@find build/coverage -name '*.gcda' -delete
	PYTHONPATH=$(CURDIR)/build/coverage $(BIN)/pytest -q -m 'not slow and not checkout and not timing' --ignore tests/faults --cov --cov-report=term \
	  $(PYTEST_ARGS)
	$(BIN)/python .ci/cython_lines.py build/coverage

build/sanitize/.built: .venv/.dev $(addprefix build/sanitize/,$(BUILT))
	@cp _ext/*.c build/sanitize/_ext/
	cd build/sanitize && PRIME_SERVER_SANITIZE=1 python setup.py -q build_ext --inplace -j $(JOBS)
	@touch $@

# Python's own arenas would hide what the sanitizers look for; what it still holds when it ends is no leak of ours. The end-to-end tests start
# programs that don't take the preloaded library, and those in tests/faults measure memory and time, which the sanitizers change.
sanitize: build/sanitize/.built
	LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so)" PYTHONMALLOC=malloc PYTHONPATH=$(CURDIR)/build/sanitize \
	  ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(BIN)/pytest -q -m 'not slow and not checkout and not timing' --ignore tests/test_end_to_end.py --ignore tests/faults $(PYTEST_ARGS)

build/coverage/%: %
	@mkdir -p $(@D) && cp $< $@

build/sanitize/%: %
	@mkdir -p $(@D) && cp $< $@

# `>=` becomes `==`; QUICK=1 leaves out what is slow, injects faults, tests the checkout and not the package, or has nothing to do with versions.
SAME_ON_ALL := test_balancer_model.py test_cores_model.py test_http_properties.py test_fuzz.py test_simd_paths.py
test-lowest: .venv/.run
	@test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	@test .venv-lowest/.installed -nt pyproject.toml || .venv-lowest/bin/pip install -qq 'setuptools>=77' 'Cython>=3.1' \
	  pytest pytest-timeout hypothesis h11 \
	  $$($(BIN)/python -c 'import tomllib; print(*(d.replace(">=", "==") for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))')
	@test .venv-lowest/.installed -nt .venv/.run || .venv-lowest/bin/pip install -qq --no-build-isolation --no-deps -e .
	@touch .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -q $(if $(QUICK),-m 'not slow and not checkout and not timing' $(addprefix --ignore tests/,faults $(SAME_ON_ALL))) $(PYTEST_ARGS)

bench: .venv/.bench
	$(BIN)/python -m pytest -q --benchmark-only bench
	$(BIN)/python -m bench.primality
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.soak

# Some three minutes; the list never changes.
pseudoprimes:
	@mkdir -p build
	$${CC:-cc} -O2 -I_ext -o build/pseudoprimes tools/pseudoprimes.c
	build/pseudoprimes > build/pseudoprimes.h && mv build/pseudoprimes.h _ext/pseudoprimes.h

wheel: .venv/.dev
	$(BIN)/python -m build
	@ls dist

clean:
	rm -rf .venv .venv-lowest build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage .coverage.* prime_server.egg-info
	rm -f _ext/*.c _ext/*.html prime_server/_ext/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
