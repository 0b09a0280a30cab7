PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check bench test-deps format clean

demo: $(VENV)/.demo                ## the whole stack on this machine, with a live table; Ctrl-C ends it
	$(BIN)/hedgerow up --demo

test: $(VENV)/.dev                 ## every test
	$(BIN)/pytest

check: $(VENV)/.dev                ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev                ## figures of this machine, into bench/results.json
	$(BIN)/python -m bench

test-deps:                         ## Debian packages that some tests need (as root)
	apt-get update -q
	apt-get install -q -y --no-install-recommends mosquitto dbus-daemon qemu-system-arm
	command -v kubectl >/dev/null || apt-get install -q -y --no-install-recommends kubernetes-client

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .hedgerow build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q -e '.[demo]'
	$(BIN)/python -c 'from device_fw.tools.firmware import umqtt_simple; umqtt_simple()'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q -e '.[dev]'
	$(BIN)/python -c 'from device_fw.tools.firmware import umqtt_simple; umqtt_simple()'
	touch $@ $(VENV)/.demo

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hedgerow needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
