# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed-$(shell cat requirements.lock tools.lock | sha256sum | cut -c1-16)
SITE = $$($(PY) -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
PROTOS = $$(cd protos && find aerofusion -name '*.proto' | sort)
PYTEST := $(PY) -m pytest
ARGS ?=
# Else each process that is started would compile the whole source anew.
unexport PYTHONDONTWRITEBYTECODE

##@ Run

up: env ## Start the whole mesh and replay the airport day; Ctrl-C stops it (ARGS=... for `meshctl up`)
	@exec $(BIN)/meshctl up $(ARGS)

down: env ## Stop a mesh that runs elsewhere
	@exec $(BIN)/meshctl down

##@ Build

env: $(STAMP) ## Build the Python environment (.venv) from the lock files
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "make: Python's venv module is missing. Try: apt-get install python3-venv" >&2; exit 1; }
	@echo "building $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement tools.lock
	@$(BIN)/uv pip sync --quiet --python $(PY) --require-hashes --compile-bytecode requirements.lock
	@touch $(VENV)/.packages
	@printf '%s\n' "$(CURDIR)" "$(CURDIR)/gen/python" "$(CURDIR)/clients/python" > "$(SITE)/aerofusion_mesh.pth"
	@printf '#!/bin/sh\nexec "%s" -m meshctl "$$@"\n' "$(CURDIR)/$(PY)" > $(BIN)/meshctl && chmod +x $(BIN)/meshctl
	@touch $@

web: node_modules/.installed ## Install what the web side needs, from package-lock.json
node_modules/.installed: package-lock.json
	@command -v npm >/dev/null || { echo "make: npm is missing. Try: install Node 20" >&2; exit 1; }
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

gen: env web ## Generate gen/ from protos/, and Envoy's types from envoy-data-plane
	$(PY) protos/generate.py --web
	$(PY) -m gateway.compile.derive

lock: env ## Resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --python-version 3.11 --output-file requirements.lock

release-contracts: lint-protos ## Make today's contracts the ones that `buf breaking` compares with
	cp build/contracts.binpb protos/released.binpb

clean: ## Remove what was built; a mesh's state and .venv stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

##@ Prove

# Linters mostly take one core, and kernels both: side by side they are done in half the time.
check: env web ## Everything a change must pass; what .ci/run calls
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target kernels lint
	@$(MAKE) --no-print-directory test slices

lint: lint-python lint-imports lint-protos lint-web ## Style, types, imports, contracts

lint-python: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint-imports: env
	$(BIN)/lint-imports

lint-protos: env
	@mkdir -p build
	$(PY) -m grpc_tools.protoc -Iprotos -I"$(SITE)" --include_imports --include_source_info -o build/contracts.binpb $(PROTOS)
	$(BIN)/buf lint build/contracts.binpb --path aerofusion
	$(BIN)/buf breaking build/contracts.binpb --against protos/released.binpb --path aerofusion
	$(PY) -m gateway.compile.derive --check

lint-web: env web
	$(PY) protos/generate.py --web --check
	npm run --silent check

# The longest first: three run side by side, each in a process of its own, but one whole mesh at a time.
SUITES := \
  e2e/test_airport_day.py+e2e/test_operator.py+e2e/test_clients.py+e2e/test_trust.py+e2e/test_faults.py \
  unit+scenarios+golden \
  contract/gateway+contract/limits+contract/access \
  contract/notifier+contract/syncd \
  contract/telemetry_intake \
  contract/telemetry_alerts \
  contract/edge+contract/hosts+contract/meshctl_config+contract/examples \
  contract/meshctl+contract/demo+contract/meshkit+contract/client \
  contract/telemetry_query+contract/telemetry_trends+contract/telemetry_store \
  contract/discovery+contract/changes+contract/relay+contract/identity+contract/xds \
  contract/telemetry_dashboards+contract/telemetry_traces \
  e2e/test_edge_config.py
# Short slices of the suites that take hours.
LONG_SUITES := soak

test: env web debian kernels ## Every test of a change, real parts included (at most 10 minutes)
	@$(PY) -m tests.suites $(foreach s,$(SUITES),$(s)) -- $(ARGS)

debian:
	@missing=""; for name in chromium curl; do command -v $$name >/dev/null || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's$$missing"; \
	    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; } > /dev/null; \
	  else \
	    echo "make: the tests need$$missing. Try: apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi
	@mkdir -p build/debian; for name in prometheus victoria-metrics; do \
	  command -v $$name > /dev/null || [ -d build/debian/$$name ] || { echo "unpacking Debian's $$name"; \
	    ( cd build/debian && { apt-get download -q $$name || { apt-get update -q && apt-get download -q $$name; }; } \
	      && dpkg -x $${name}_*.deb $$name && rm $${name}_*.deb ) > /dev/null 2>&1 \
	    || { echo "make: the tests compare with $$name. Try: apt-get install $$name" >&2; exit 1; }; }; \
	done

kernels: env
	@$(PY) -m telemetry.warm

slices: env web debian kernels ## Short slices of the suites that take hours
	@MESH_SOAK_SLICE=1 $(PY) -m tests.suites $(foreach s,$(LONG_SUITES),$(s)) -- $(ARGS)

envoys: env ## The edge's suites on each Envoy that is supported (an hour); writes docs/envoys.md
	@$(PY) -m tests.envoys $(ARGS)

soak: env ## The long suites (hours); writes docs/soak.md
	$(PYTEST) tests/soak --timeout=0 $(ARGS)

bench: env kernels ## Measure: make bench AREA=foundation; writes build/bench/<area>.json
	@test -n "$(AREA)" || { echo "make: say which area. Try: make bench AREA=foundation" >&2; exit 2; }
	@mkdir -p build/bench
	$(PY) -m bench $(AREA) $(ARGS)

help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up down env web gen lock release-contracts clean check lint lint-python lint-imports lint-protos lint-web test debian kernels slices envoys soak bench help
