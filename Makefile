# `make app` sets everything up and runs the app; `make test` sets everything up and tests it.
# Needs Python 3.11 and make. Both are incremental: what is installed stays until its pins change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
HOST   ?= 127.0.0.1
PORT   ?= 8501
NAMES  ?=
BIN    := .venv/bin
# Where others can open the app, or a proxy passes them on, it is a room and has a door.
ENTRY  := $(if $(strip $(NAMES) $(filter-out 127.0.0.1 localhost ::1,$(HOST))),room_app.py,streamlit_app.py)

.PHONY: app test chaos lint browser load soak clean

app: .venv/.app
	$(BIN)/streamlit run $(ENTRY) --server.address $(HOST) --server.port $(PORT) \
	  $$($(BIN)/python scripts/own_names.py $(HOST) $(NAMES))

test: .venv/.test browser lint
	$(BIN)/python -m pytest

# Kills apps, workers and Ray at random moments: docs/chaos.md. KILLS=200 takes hours on a busy machine, and goes on.
KILLS ?= 20
chaos: .venv/.test
	$(BIN)/python -m tests.chaos --kills $(KILLS)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Headroom needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.app: requirements.txt constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

.venv/.test: requirements-dev.txt .venv/.app
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

# Chromium from the PATH, else from Debian's packages, else Playwright's own.
browser: .venv/.test
	@$(BIN)/python scripts/find_browser.py

# A room of fifty in Streamlit's own protocol, and half an hour of it: scripts/load.py and scripts/soak.py say what else.
load: .venv/.test
	$(BIN)/python scripts/load.py $(OPTIONS)

soak: browser
	$(BIN)/python scripts/soak.py $(OPTIONS)

clean:
	rm -rf .venv build screenshots
