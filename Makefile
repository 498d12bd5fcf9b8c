# Everything goes through .venv, which is made here and made anew when what it holds changes:
# requirements.txt for the book, tests/requirements.txt on top of it for the rest.
#   make PYTHON=python3.12 book     picks another interpreter for it

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS := $(VENV)/.installed-tests
# The same number stands in book/_tools/notebooks.py.
CELL_TIMEOUT := 120

# Two processes run side by side, each with one thread: more threads than cores only wait.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export VECLIB_MAXIMUM_THREADS := 1
# Keeps the kernels' debugger from writing a warning at every start.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.PHONY: help book pdf zip test lint bench notebooks assignments clean
.NOTPARALLEL:

help:
	@echo "make book       execute the notebooks and build the site into _build/html"
	@echo "make test       build the book, then run every test and compare every notebook's outputs"
	@echo "make pdf        make one PDF of the whole book, through Chromium"
	@echo "make zip        pack the site, to be read offline"
	@echo "make notebooks  execute the notebooks and write them back in the normal form"
	@echo "make assignments  make the students' notebooks from their private sources"
	@echo "make lint       check the style of the code"
	@echo "make bench      measure the library beside numpy, scipy and, where installed, its peers"
	@echo "make clean      remove what was built (.venv stays)"

$(STAMP): requirements.txt constraints.txt lib/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: try make PYTHON=python3.12 $(or $(MAKECMDGOALS),book)"; \
	  exit 1; }
	@echo "== environment: installing requirements.txt into $(VENV) (a minute or two)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed: install it (on Debian and Ubuntu: apt install python3-venv), remove $(VENV) and try again"; \
	  exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@

$(TESTS): $(STAMP) tests/requirements.txt
	@echo "== environment: adding tests/requirements.txt (a minute)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@

book: $(STAMP)
	@$(BIN)/python book/_tools/notebooks.py run
	@echo "== site: building strictly into _build/html"
	@rm -rf _build/html
	@$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "== done: open _build/html/index.html"

pdf: $(TESTS) book
	@$(BIN)/python book/_tools/publish.py pdf

zip: book
	@$(BIN)/python book/_tools/publish.py zip

# The book comes first, so that on a new machine it is built without what only tests need. Both
# runs are made even if the first one fails, so that one call tells everything.
test: book $(TESTS)
	@failed=0; \
	echo "== tests: library, book and browser"; \
	$(BIN)/python -m pytest tests -n 2 --dist loadgroup || failed=1; \
	echo "== tests: every notebook's outputs"; \
	$(BIN)/python -m pytest book --nbval --nbval-current-env \
	  --nbval-cell-timeout $(CELL_TIMEOUT) -n 2 --dist loadfile -q || failed=1; \
	exit $$failed

notebooks: $(STAMP)
	@$(BIN)/python book/_tools/notebooks.py write

assignments: $(TESTS)
	@$(BIN)/python book/_tools/assignments.py

lint: $(TESTS)
	@$(BIN)/ruff check .

bench: $(TESTS)
	@$(BIN)/python benchmarks/run.py

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
