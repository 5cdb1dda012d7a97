# Two commands do everything on a fresh machine: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow quick check mutate site format clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/counterstain demo

# Before a commit: everything but what takes long. Under 10 minutes on two idle cores.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

# Whole studies, trainings, simulations: what `make test` leaves out. `.ci/run` calls both.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# While working: the statistics, cohorts and splits, in under a minute; no test that draws a page or imports PyTorch. Or
# other rooms: `make quick ROOMS=tests/slides`.
ROOMS := tests/evaluation $(filter-out tests/cohort/test_phantom%, $(wildcard tests/cohort/test_*.py)) \
	tests/test_architecture.py tests/test_files.py tests/test_tables.py
quick: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not realdata" -k "not page_of" $(ROOMS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Are the tests able to fail? Every mutant takes most of a day, `make mutate SAMPLE=800 SEED=2` half an hour;
# docs/mutants.md. Both go on where they were stopped; AGAIN=--again tries survivors once more, after new tests.
mutate: $(VENV)/.dev
ifdef SAMPLE
	$(BIN)/python tests/mutation_sample.py --count $(SAMPLE) $(if $(SEED),--seed $(SEED)) $(AGAIN)
else
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 1
	$(BIN)/python tests/mutation_score.py --survivors
endif

# The documentation as a site with search: python -m http.server -d build/site
site: $(VENV)/.dev
	rm -rf build/pages build/site
	mkdir -p build/pages/benchmarks
	cp -r docs examples README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md CITATION.cff Makefile LICENSE build/pages/
	cp benchmarks/*.md build/pages/benchmarks/
	$(BIN)/zensical build --strict

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.core: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Counterstain needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[slides]'
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) mutants
