PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ENGINE ?= $(or $(shell command -v podman),docker)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' edgewire/__init__.py)

.PHONY: demo test test-podman5 test-cluster check bench image test-deps format clean

demo: $(VENV)/.demo                ## the whole stack on this machine, with a live table; Ctrl-C ends it
	$(BIN)/hedgerow up --demo

test: $(VENV)/.dev                 ## every test
	$(BIN)/pytest

test-podman5:                      ## Podman's tests with Debian 13's Podman, in a folder (as root; needs debootstrap)
	hil_tests/bench/podman5.sh build/debian13

test-cluster: $(VENV)/.dev         ## tests on a real kube-apiserver, built from Debian's source package the first time
	hil_tests/bench/kubernetes_programs.sh .hedgerow/cache/kubernetes
	$(BIN)/pytest -m real_cluster hil_tests

check: $(VENV)/.dev                ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev                ## figures of this machine, into bench/results.json
	$(BIN)/python -m bench

image:                             ## container images of cloudcore, edgecore and the mappers, by podman or docker
	for part in cloudcore edgecore mappers; do $(ENGINE) build $(BUILD_ARGS) --target $$part --tag hedgerow/$$part:$(VERSION) . || exit 1; done

test-deps:                         ## Debian packages that some tests need (as root)
	apt-get update -q
	apt-get install -q -y --no-install-recommends mosquitto dbus-daemon qemu-system-arm \
		podman runc catatonit iptables busybox-static openssl
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
