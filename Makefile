# The verbs, the same for a person and for CI. Each does its own set-up first.
#   make demo   the main job on real weights and real data    make check   lint, types, imports, style
#   make test   the fast tests                                make fix     format, mend what is mendable
#   make bench-engines engines beside one another: precisions, loads, plans, overhead (run it alone)
#   make bench-advise  advice beside what full searches find (an hour; run it alone)
#   make bench-graph   rewriting beside its peers: nodes, bytes, latency (40 minutes; run it alone)
#   make bench-compress real models and data held to bars: speed, bytes, certified loss (run it alone)

.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all check fix lock clean
.PHONY: bench-advise bench-compress bench-engines bench-graph

PYTHON ?=
BIN := .venv/bin
# Side by side, one file to a process: half of most tests is waiting for a child to start.
PYTEST := $(BIN)/python -m pytest -n logical --dist loadfile --max-worker-restart 0
# The name of the stamp carries the contents that decided the installation.
STAMP := .venv/.setup-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

help:
	@sed -n '1,8s/^# *//p' Makefile

setup: $(STAMP)

$(STAMP):
	@.ci/setup $(STAMP) $(PYTHON)

demo: setup
	$(BIN)/lepton demo

test: setup
	$(PYTEST) -m "not slow"

test-all: test
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_style.py tests/test_imports.py

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-graph: setup
	$(BIN)/python -m pip install --quiet -r bench/requirements.txt
	PYTHONPATH=bench $(BIN)/python bench/bench_graph.py

bench-advise: setup
	PYTHONPATH=bench $(BIN)/python bench/bench_advise.py

bench-engines: setup
	PYTHONPATH=bench $(BIN)/python bench/bench_engines.py

bench-compress: setup
	$(BIN)/python -m pip install --quiet -r bench/requirements.txt
	PYTHONPATH=bench $(BIN)/python bench/bench_compress.py

# Resolve anew from pyproject.toml, in a throw-away environment, and write the exact versions down.
lock:
	.ci/lock $(PYTHON)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
