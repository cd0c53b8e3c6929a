# Every target makes what it needs: a virtual environment, the packages, and only when pyproject.toml changed.

VENV ?= .venv
VENV_PARITY ?= .venv-parity
VENV_BENCH ?= .venv-bench
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help demo test lint mutants browser parity bench docs clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## train LeNet-5 on digits and draw where its gradient flows, into runs/demo
	@$(VENV)/bin/python -m tinygrad_cnn demo

test: $(VENV)/.dev  ## run the tests
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto -q  # one worker per core, one thread each

lint: $(VENV)/.dev  ## check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

browser: $(VENV)/.dev  ## test the pages and films in Chromium, which must be installed
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest browser -q

mutants: $(VENV)/.dev  ## seed bugs into every operation, and see that the testing kit finds them and nothing else
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m tinygrad_cnn.testing.mutants

parity: $(VENV_PARITY)/.dev  ## compare with PyTorch, in an environment of its own
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(VENV_PARITY)/bin/python -m pytest parity -n auto -q

bench: $(VENV_BENCH)/.data  ## time it next to other libraries, in an environment of its own; BENCH=--quick ends in five minutes
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(VENV_BENCH)/bin/python -m benchmarks $(BENCH)

docs: $(VENV)/.dev  ## write docs/ops.md, the table of all operations, from the registry
	@$(VENV)/bin/python docs/generate.py

clean:  ## remove the environments and what the tools and the demo wrote
	rm -rf $(VENV) $(VENV_PARITY) $(VENV_BENCH) runs .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV_PARITY)/.dev: extra_packages = torch==2.13.0
$(VENV_BENCH)/.data: extra_packages = torch==2.13.0 jax mygrad autograd

# VENV/.EXTRA is touched once the environment holds the package with that extra.
$(VENV)/.demo $(VENV)/.dev $(VENV_PARITY)/.dev $(VENV_BENCH)/.data: pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with its venv module was found on PATH." \
		"Install one (Debian, Ubuntu: apt install python3-venv) or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || { \
		echo "Making $(@D) with $(PYTHON)"; $(PYTHON) -m venv --clear $(@D); }
	@echo "Installing $(strip tinygrad_cnn[$(@F:.%=%)] $(extra_packages)) into $(@D)"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(extra_packages) --editable '.[$(@F:.%=%)]'
	@touch $@
