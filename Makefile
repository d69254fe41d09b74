# `make simulate` and `make test` create their own environment in .venv; they need Python 3.11 or newer, make and a
# package index. PYTHON=... chooses another interpreter.
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: simulate test slow docs clean

simulate: $(STAMP)
	$(VENV)/bin/chord-fl simulate

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(MAKE) docs
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

slow: $(STAMP)
	$(VENV)/bin/pytest -m slow

docs: $(STAMP)
	$(VENV)/bin/sphinx-build -c docs -W --keep-going --quiet . build/docs

clean:
	rm -rf $(VENV) build *.egg-info

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "torch>=2.6,<2.14"
	$(VENV)/bin/pip install --quiet --editable ".[dev,docs]"
	touch $@
