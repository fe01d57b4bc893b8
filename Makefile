# The targets a person needs; each makes the virtual environment it runs in.

PYTHON ?= python3
VENV   ?= .venv
FLOOR  ?= .venv-floor
TOOLS  := $(CURDIR)/.tools

# A file's tests stay in one process: some share what is dear to make.
PARALLEL ?= -n logical --maxprocesses 8 --dist loadfile

export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: help run test lint test-floor crash chaos fuzz bench-gateway bench-engine bench-supervisor sq dist clean

help:
	@echo 'make run         start the gateway with two demo tenants, alice and bob'
	@echo 'make test        every test'
	@echo 'make lint        ruff, mypy, import-linter'
	@echo 'make test-floor  unit and command-line tests on the oldest supported libraries'
	@echo 'make crash       1,000 rounds of power cuts on a simulated disk, 100 kills of the engine'
	@echo 'make chaos       5 minutes of calamities for some tenants while the others are under load'
	@echo 'make fuzz        the framing against h11 and httptools, for long'
	@echo 'make bench-engine   the embedded engine and the real sq, in one table (needs wrk)'
	@echo 'make bench-gateway  the gateway, nginx, haproxy and bare sq, in one table (needs wrk); BENCH_ARGS=--help'
	@echo 'make bench-supervisor  starts, memory and restarts, forked from the zygote and spawned'
	@echo 'make sq          the real sq, for engine: command and its tests'
	@echo 'make dist        the wheel, in dist/'
	@echo 'make clean       remove what these made; tenants and their data stay'

run: $(VENV)/.stamp-run
	@exec $(VENV)/bin/python conf/demo/run.py

test: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

lint: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy conf/demo/run.py twisted/plugins/sqsuper_plugin.py
	$(VENV)/bin/lint-imports

# The oldest libraries have no wheels for newer Pythons than 3.11.
ifneq ($(filter test-floor,$(MAKECMDGOALS)),)
FLOOR_PYTHON ?= $(shell for python in $(PYTHON) python3.11 python3.10; do \
    $$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null \
    && echo $$python && break; done)
endif
ifneq ($(FLOOR_PYTHON),)
test-floor: $(FLOOR)/.stamp
	$(FLOOR)/bin/python -m pytest tests/unit tests/integration/test_cli_options.py tests/integration/test_cli_twistd.py $(PARALLEL) $(PYTEST_ARGS)
else
test-floor:
	@echo 'make test-floor: SKIPPED, it needs Python 3.10 or 3.11 (make FLOOR_PYTHON=... test-floor)'
endif

crash: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m tests.crash --rounds 1000
	$(VENV)/bin/python -m tests.crash.kills --rounds 100

# Of the coverage-guided part of `make fuzz`.
FUZZ_SECONDS ?= 600

chaos: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m tests.chaos $(CHAOS_ARGS)

fuzz: $(VENV)/.stamp-dev
	SQSUPER_FUZZ_EXAMPLES=20000 $(VENV)/bin/python -m pytest tests/property/test_http1_others.py $(PYTEST_ARGS)
	$(VENV)/bin/python -m pip install --quiet atheris || true  # not for every Python
	$(VENV)/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench-gateway: $(VENV)/.stamp-dev
	@$(VENV)/bin/python -m benchmarks.gateway $(BENCH_ARGS)

bench-engine: $(VENV)/.stamp-dev
	@$(VENV)/bin/python -m benchmarks.engine $(BENCH_ARGS)

bench-supervisor: $(VENV)/.stamp-dev
	@$(VENV)/bin/python -m benchmarks.supervisor $(BENCH_ARGS)

sq:
	@command -v sq >/dev/null || { \
	    command -v cargo >/dev/null || { echo 'make sq: needs cargo (apt-get install cargo, or rustup)' >&2; exit 1; }; \
	    cargo install sq --version 0.5.5 --root $(TOOLS); }
	@sq version

dist: $(VENV)/.stamp-run
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(FLOOR) .tools build dist sqsuper.egg-info twisted/plugins/dropin.cache \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find sqsuper tests twisted conf/demo -name __pycache__ -type d -prune -exec rm -rf {} +

# `make run` must not pay for the test tools, and a second run must not pay at all.
$(VENV)/.stamp-run: setup.cfg pyproject.toml
	@$(call make-venv,$(PYTHON),$(VENV))
	$(VENV)/bin/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.stamp-dev: setup.cfg pyproject.toml
	@$(call make-venv,$(PYTHON),$(VENV))
	$(VENV)/bin/python -m pip install --quiet -e '.[tls,dev]'
	@touch $@ $(VENV)/.stamp-run

$(FLOOR)/.stamp: setup.cfg pyproject.toml .ci/floor.txt
	@$(call make-venv,$(FLOOR_PYTHON),$(FLOOR))
	$(FLOOR)/bin/python -m pip install --quiet -c .ci/floor.txt -e '.[tls,test]' six  # which service-identity 18.1 needs and does not declare
	@touch $@

# $(1) the Python to use, $(2) the directory. An environment that is there is kept.
define make-venv
[ -x $(2)/bin/python ] || { \
    command -v $(1) >/dev/null || { echo 'make: no $(1); install Python 3.10 or newer, or name it: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }; \
    $(1) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: sqsuper needs Python 3.10 or newer, $(1) is `$(1) --version 2>&1`; name another: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }; \
    $(1) -c 'import venv, ensurepip' 2>/dev/null || { echo 'make: $(1) cannot make virtual environments; on Debian: apt-get install python3-venv' >&2; exit 1; }; \
    echo 'make: making $(2); only the first time takes a while' && $(1) -m venv $(2); }
endef
