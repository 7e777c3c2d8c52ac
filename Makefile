# make demo   a synthetic volume, segmented, measured and pictured, on this machine, offline
# make test   the whole test suite, on two cores (make test PYTEST="--long" for the long mode)
# make check  formatting, lint and types
# make docs   the documentation as a site in site/
# make screenshots  the pictures of docs/napari.md, made anew

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
PYTEST ?=
DEMO   ?=

.PHONY: demo test check docs screenshots clean

demo: $(VENV)/.installed
	$(BIN)/volseg demo --overwrite $(DEMO)

test: $(VENV)/.installed-dev
	bash deploy/debian-packages.sh
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

screenshots: $(VENV)/.installed-dev
	bash deploy/debian-packages.sh
	$(BIN)/python docs/screenshots.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -q -c constraints.txt -e '.[flows]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) site build dist *.egg-info
