# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes its own .venv.
# PYTHON=/path/to/python chooses another interpreter, PORT=8080 another port for the demo.

VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard service cli migrations tests bench gunicorn.conf.py)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet

# An environment that lost its interpreter or was copied with its folder is made anew.
VENV_STALE := $(shell test -x $(BIN)/python && grep -qxF '$(CURDIR)' $(VENV)/.created 2>/dev/null || echo FORCE)

.PHONY: help demo test lint bench load clean FORCE
.DELETE_ON_ERROR:

help:
	@echo 'make demo   simulate parks in a local database and serve their rankings on http://127.0.0.1:8000'
	@echo 'make test   types, style, then all tests, with the coverage they must reach'
	@echo 'make lint   types and style only'
	@echo 'make bench  how long answers and recomputation take at production size'
	@echo 'make load   the API under load at production size; both take long, and fill a MariaDB of their own first,'
	@echo '            or take the database of URL=mysql://..., filled by bench/production.py'
	@echo 'make clean  remove .venv and what the tools left behind; var/ with its database stays'

# Its own database file, brought up to now when it is there already; a DATABASE_URL that is set is used instead, and
# only while it holds no readings.
demo: $(VENV)/.installed
	@if [ -n "$$DATABASE_URL" ]; then exec $(BIN)/cli demo --serve; \
	else DATABASE_URL=sqlite:///var/demo.db exec $(BIN)/cli demo --serve --force; fi

# Coverage doubles the time of tests that mostly compute, and those of golden and contract add none that is asked for.
UNCOVERED := tests/golden tests/contract
PYTEST := pytest --numprocesses auto --maxprocesses 4

test: lint
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m $(PYTEST) $(addprefix --ignore=,$(UNCOVERED))
	$(BIN)/python -m coverage combine --quiet
	@echo 'Coverage of service/models and service/queries must reach 80 % each.'
	$(BIN)/python -m coverage report --include='service/models/*' --fail-under=80
	$(BIN)/python -m coverage report --include='service/queries/*' --fail-under=80
	$(BIN)/python -m $(PYTEST) $(UNCOVERED)

lint: $(VENV)/.installed-test
	$(BIN)/python -m mypy
	$(BIN)/python -m flake8 $(CODE)
	$(BIN)/python -m bandit --quiet --configfile pyproject.toml --recursive service cli

# The first ones share a database of production size; the others fill small ones of their own.
bench: $(VENV)/.installed
	$(BIN)/python bench/load $(if $(URL),--url '$(URL)') bench/answers.py bench/today.py bench/windows.py \
	    bench/naive.py bench/recompute.py
	$(BIN)/python bench/tally.py
	$(BIN)/python bench/collect.py
	$(BIN)/python bench/yearly.py

load: $(VENV)/.installed
	$(BIN)/python bench/load $(if $(URL),--url '$(URL)')

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .schemathesis
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: setup.cfg pyproject.toml $(VENV)/.created
	@echo 'Installing the service into $(VENV) ...'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml $(VENV)/.created
	@echo 'Installing the service and its test tools into $(VENV) ...'
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.installed $@

# Written last, so that an interrupted attempt is never taken for a finished one.
$(VENV)/.created: $(VENV_STALE)
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    found="$$python"; \
	    "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
	    echo "Making $(VENV) with $$("$$python" -c 'import sys; print(sys.executable)') ..."; \
	    "$$python" -m venv --clear $(VENV) || exit 1; \
	    echo '$(CURDIR)' > $@; \
	    exit 0; \
	done; \
	if [ -n "$$found" ]; then \
	    echo "$$found cannot make virtual environments: its ensurepip module is missing." \
	         "On Debian and Ubuntu, 'apt-get install python3-venv' brings it." >&2; \
	else \
	    echo "Python 3.11 or newer is needed, and $(or $(PYTHON),the PATH) has none." \
	         "Install it, or name it: make PYTHON=/path/to/python3" >&2; \
	fi; \
	exit 1
