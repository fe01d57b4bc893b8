# The targets a person needs; each makes the virtual environment it runs in.

PYTHON ?= python3
VENV   ?= .venv
FLOOR  ?= .venv-floor
DEBIAN ?= .venv-debian
BUILD  ?= .venv-build
DOCS   ?= .venv-docs
TOOLS  := $(CURDIR)/.tools

# A file's tests stay in one process: some share what is dear to make.
PARALLEL ?= -n logical --maxprocesses 8 --dist loadfile

export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: help run test lint test-floor crash chaos fuzz bench-gateway bench-engine bench-supervisor bench-page sq dist clean
.PHONY: binary binary-sq test-binary sbom page release lint-workflows
.PHONY: docs docs-pages screenshots
.PHONY: deb reproducible test-debian install-test install-test-deb

help:
	@echo 'make run         start the gateway with two demo tenants, alice and bob'
	@echo 'make test        every test'
	@echo 'make lint        ruff, mypy, import-linter'
	@echo 'make test-floor  unit and command-line tests on the oldest supported libraries'
	@echo 'make test-debian  the same tests with the libraries of the Debian that this is'
	@echo 'make crash       1,000 rounds of power cuts on a simulated disk, 100 kills of the engine'
	@echo 'make chaos       5 minutes of calamities for some tenants while the others are under load'
	@echo 'make fuzz        the framing against h11 and httptools, for long'
	@echo 'make bench-engine   the embedded engine and the real sq, in one table (needs wrk)'
	@echo 'make bench-gateway  the gateway, nginx, haproxy and bare sq, in one table (needs wrk); BENCH_ARGS=--help'
	@echo 'make bench-supervisor  starts, memory and restarts, forked from the zygote and spawned'
	@echo 'make bench-page     the status page of 500 tenants, in Chromium'
	@echo 'make docs        the documentation as a site, in build/site, with every link checked'
	@echo 'make docs-pages  make the parts of its pages that come from the code anew'
	@echo 'make screenshots  take those of docs/ anew, in Chromium, after 11 minutes of load'
	@echo 'make sq          the real sq, for engine: command and its tests'
	@echo 'make dist        the wheel and the sdist, in dist/'
	@echo 'make deb         the Debian package, in dist/'
	@echo 'make binary      the single-file program, in dist/ (needs cargo; Linux: glibc 2.34 or newer)'
	@echo 'make test-binary the tests of that very file'
	@echo 'make release     all artifacts of this platform, their sums and their list of parts, in dist/'
	@echo 'make lint-workflows  actionlint and zizmor (needs go)'
	@echo 'make reproducible  build them twice and compare'
	@echo 'make install-test-deb  install, start, upgrade and remove the Debian package in clean roots (as root)'
	@echo 'make install-test  time each artifact from the file to the first answer, in clean roots (as root)'
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
	$(VENV)/bin/mypy packaging/manpages.py packaging/reproducible.py packaging/install_test.py packaging/test_deb.py packaging/test_systemd.py
	MYPYPATH=packaging/binary $(VENV)/bin/mypy packaging/binary/build.py packaging/binary/importing.py packaging/binary/pack.py packaging/binary/try_out.py packaging/test_binary.py packaging/sbom.py
	$(VENV)/bin/mypy packaging/sq/build.py
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

# Debian's own Python and libraries, as its package uses them; only what tests comes from elsewhere.
test-debian: $(DEBIAN)/.stamp
	$(DEBIAN)/bin/python -m pytest tests/unit tests/integration/test_cli_options.py tests/integration/test_cli_twistd.py $(PARALLEL) $(PYTEST_ARGS)

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

bench-page: $(VENV)/.stamp-dev
	@$(VENV)/bin/python -m benchmarks.page $(BENCH_ARGS)

sq:
	@command -v sq >/dev/null || { \
	    command -v cargo >/dev/null || { echo 'make sq: needs cargo (apt-get install cargo, or rustup)' >&2; exit 1; }; \
	    cargo install sq --version 0.5.5 --root $(TOOLS); }
	@sq version

dist: $(BUILD)/.stamp
	$(BUILD)/bin/python packaging/dist.py dist

deb:
	$(PYTHON) packaging/deb.py dist

# What is put in it; one that was built from source, or to run anywhere.
BINARY_PYTHON ?= $(PYTHON)

binary:
	$(PYTHON) packaging/binary/build.py --python $(BINARY_PYTHON) $(BINARY_ARGS)

# The real sq, for `engine: command`.
binary-sq:
	$(PYTHON) packaging/sq/build.py build/sq "dist/$$($(PYTHON) packaging/binary/names.py sq)"

test-binary: $(VENV)/.stamp-dev
	SQSUPER_BINARY="dist/$$($(PYTHON) packaging/binary/names.py sqsuper)" \
	    $(VENV)/bin/python -m pytest -p no:cacheprovider packaging/test_binary.py $(PARALLEL) --dist load $(PYTEST_ARGS)

sbom:
	$(PYTHON) packaging/sbom.py dist/sqsuper.cdx.json

# Where the files will be, and the repository, for the page that leads to them.
RELEASES   ?= @RELEASES@
REPOSITORY ?= @REPOSITORY@

page:
	mkdir -p dist
	sed -e 's|@RELEASES@|$(RELEASES)|g' -e 's|@REPOSITORY@|$(REPOSITORY)|g' docs/quick-start.html > dist/quick-start.html

screenshots: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m docs.tools.screenshots

docs: $(DOCS)/.stamp page
	$(DOCS)/bin/python -m docs.tools --check
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --strict
	cp dist/quick-start.html build/site/
	@echo 'build/site/index.html'

docs-pages: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m docs.tools

release: dist deb binary binary-sq page
	$(MAKE) sbom
	cd dist && rm -f SHA256SUMS && sha256sum * > SHA256SUMS
	@cat dist/SHA256SUMS

ACTIONLINT := 1.7.12

lint-workflows:
	@[ -x $(TOOLS)/lint/bin/zizmor ] || { \
	    $(PYTHON) -m venv $(TOOLS)/lint && $(TOOLS)/lint/bin/pip install -q zizmor; }
	@[ -x $(TOOLS)/lint/bin/actionlint ] || { \
	    command -v go >/dev/null || { echo 'make lint-workflows: needs go' >&2; exit 1; }; \
	    GOBIN=$(TOOLS)/lint/bin go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT); }
	$(TOOLS)/lint/bin/actionlint
	$(TOOLS)/lint/bin/zizmor --offline --persona pedantic .github

reproducible: $(BUILD)/.stamp
	$(BUILD)/bin/python packaging/reproducible.py

# Clean roots by debootstrap; their bases are kept in build/roots.
install-test-deb: deb
	$(PYTHON) packaging/test_deb.py $$(ls -t dist/sqsuper_*_all.deb | head -n 1)
	$(PYTHON) packaging/test_systemd.py $$(ls -t dist/sqsuper_*_all.deb | head -n 1)

install-test: dist deb binary
	$(PYTHON) packaging/install_test.py $(KINDS)

clean:
	rm -rf $(VENV) $(FLOOR) $(DEBIAN) $(BUILD) $(DOCS) .tools build dist sqsuper.egg-info twisted/plugins/dropin.cache \
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

$(DEBIAN)/.stamp: setup.cfg debian/control
	@dpkg-checkbuilddeps || { echo 'make: as root: apt-get build-dep $(CURDIR)' >&2; exit 1; }
	/usr/bin/python3 -m venv --system-site-packages $(DEBIAN)
	$(DEBIAN)/bin/python -c 'import configparser as c; p = c.ConfigParser(); p.read("setup.cfg"); print(p["options.extras_require"]["test"])' > $(DEBIAN)/test.txt
	$(DEBIAN)/bin/python -m pip install --quiet -r $(DEBIAN)/test.txt
	$(DEBIAN)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

$(DOCS)/.stamp: setup.cfg pyproject.toml
	@$(call make-venv,$(PYTHON),$(DOCS))
	$(DOCS)/bin/python -m pip install --quiet -e '.[docs]'
	@touch $@

$(BUILD)/.stamp: packaging/build.txt
	@$(call make-venv,$(PYTHON),$(BUILD))
	$(BUILD)/bin/python -m pip install --quiet -r packaging/build.txt
	@touch $@

# $(1) the Python to use, $(2) the directory. An environment that is there is kept.
define make-venv
[ -x $(2)/bin/python ] || { \
    command -v $(1) >/dev/null || { echo 'make: no $(1); install Python 3.10 or newer, or name it: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }; \
    $(1) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: sqsuper needs Python 3.10 or newer, $(1) is `$(1) --version 2>&1`; name another: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }; \
    $(1) -c 'import venv, ensurepip' 2>/dev/null || { echo 'make: $(1) cannot make virtual environments; on Debian: apt-get install python3-venv' >&2; exit 1; }; \
    echo 'make: making $(2); only the first time takes a while' && $(1) -m venv $(2); }
endef
