# Two commands to begin with: `make demo` (needs Python 3.11 or newer with its venv, nothing else) and `make test`.

PYTHON ?= python3
BIN := .venv/bin
# Where Debian's python3-venv is missing, the environment has no pip of its own and the system's pip fills it.
PIP = $(shell test -x $(BIN)/pip && echo $(BIN)/python -m pip || echo $(PYTHON) -m pip --python $(BIN)/python) \
	-qq --disable-pip-version-check
UV ?= uv
# One worker more than there are cores, because most tests wait; four at most, because each takes a gigabyte.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))
PYTEST = $(BIN)/coverage run -m pytest --ignore=tests/bench
UNMEASURED = $(BIN)/python -m pytest -q --dist worksteal -m "not slow and not alone" --hypothesis-profile=quick
CORE_COVERAGE = echo "core/ alone, where anything less than all of it fails:" && \
	$(BIN)/coverage report --include='ingestd/core/*' --fail-under=100
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-annotate

.PHONY: help demo test quick fast check crash soak lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    the embedded service and the real daemon on six files, in .venv (made when missing)"
	@echo "make test    every test with branch coverage; core/ must have all of it   (ARGS=... goes to pytest)"
	@echo "make quick   the rules and the daemon on fakes, without coverage: for the time while you write"
	@echo "make fast    every test that takes less than three seconds, without coverage"
	@echo "make check   ruff, mypy --strict, the import contract"
	@echo "make crash   the crash matrix, all of it: every state-changing system call killed and failed; needs strace"
	@echo "make soak    forty minutes of kills and a bad service; ARGS='--minutes 5' for less"
	@echo "make lock    the hashed locks anew (ARGS=--upgrade for newer versions); needs uv"
	@echo "make clean   away with everything that make made"

demo: .venv/.run
	@$(BIN)/ingestd demo $(ARGS)

# A part of the tests covers a part of the code: only all of them are measured, and tests/unit, which alone covers core/.
# What is marked `alone` comes after the rest.
test: .venv/.dev
	@rm -f .coverage .coverage.*
	@$(if $(ARGS),$(PYTEST) $(ARGS),$(PYTEST) -n $(JOBS) --dist worksteal -m "not alone" && $(PYTEST) -m alone)
	@$(BIN)/coverage combine --quiet
	@$(if $(ARGS),,$(BIN)/coverage report)
	@$(if $(filter-out tests/unit,$(ARGS)),,$(CORE_COVERAGE))

quick: .venv/.dev
	@$(UNMEASURED) -n auto tests/unit tests/contract tests/component/daemon $(ARGS)

fast: .venv/.dev
	@$(UNMEASURED) -n $(JOBS) --ignore=tests/bench $(ARGS)

check: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

crash: .venv/.dev
	@INGESTD_TEST_CRASH=full INGESTD_TEST_MACHINE=2000 $(BIN)/python -m pytest tests/crash --timeout 0 $(ARGS)

soak: .venv/.dev
	@$(BIN)/python tests/crash/soak.py --plot docs/soak.png $(ARGS)

# The runtime and build locks follow the test lock, so one .venv can hold all three.
lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pipx install uv, or UV=/path/to/uv"; exit 1; }
	$(LOCK) $(ARGS) --group dev pyproject.toml -o tests/requirements.txt
	$(LOCK) $(ARGS) -c tests/requirements.txt pyproject.toml -o deploy/requirements.txt
	printf 'editables\nhatchling\n' | $(LOCK) $(ARGS) -c tests/requirements.txt - -o deploy/requirements-build.txt

clean:
	rm -rf .venv dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find ingestd tests -name __pycache__ -prune -exec rm -rf {} +

# The stamps: what is installed follows the locks, and a second run costs nothing.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "ingestd needs Python 3.11 or newer, and '$(PYTHON)' is not: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@echo "setting up .venv (once, about a minute)"
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || \
		{ $(PYTHON) -m pip --version && $(PYTHON) -m venv --clear --without-pip .venv; } >/dev/null 2>&1 || { \
		rm -rf .venv; echo "Python's venv is missing here: apt-get install python3-venv, then again"; exit 1; }

.venv/.run: deploy/requirements.txt deploy/requirements-build.txt pyproject.toml | $(BIN)/python
	@$(PIP) install --require-hashes -r deploy/requirements.txt -r deploy/requirements-build.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: tests/requirements.txt | .venv/.run
	@echo "adding the test tools to .venv (once)"
	@$(PIP) install --require-hashes -r tests/requirements.txt
	@touch $@
