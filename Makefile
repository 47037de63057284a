# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed-$(shell cat requirements.lock tools.lock | sha256sum | cut -c1-16)
MYPY_PACKAGES := meshkit gateway notifier syncd telemetry meshctl

help: ## List these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')"

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement tools.lock
	$(BIN)/uv pip sync --quiet --python $(PY) --require-hashes requirements.lock
	printf '%s\n' "$(CURDIR)" "$(CURDIR)/gen/python" "$(CURDIR)/clients/python" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/aerofusion_mesh.pth"
	printf '#!/bin/sh\nexec "%s" -m meshctl "$$@"\n' "$(CURDIR)/$(PY)" > $(BIN)/meshctl && chmod +x $(BIN)/meshctl
	touch $@

env: $(STAMP) ## Build the Python environment (.venv) from the lock file

node_modules/.installed: package-lock.json
	npm ci --silent --no-audit --no-fund
	touch $@

lock: $(STAMP) ## Resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --python-version 3.11 --output-file requirements.lock

gen: $(STAMP) node_modules/.installed ## Generate gen/ from protos/
	$(PY) protos/generate.py --web

lint-protos: $(STAMP) ## Lint the contracts
	@mkdir -p build
	$(PY) -m grpc_tools.protoc -Iprotos -I"$$($(PY) -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')" --include_imports --include_source_info -o build/contracts.binpb $$(cd protos && find aerofusion -name '*.proto')
	$(BIN)/buf lint build/contracts.binpb --path aerofusion

.PHONY: help env lock gen lint-protos
