# Everything a newcomer needs. `make run` and `make test` set up what is missing first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help run test chaos trials bench bench-full bench-parts bench-history lint types check setup clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 13

run: $(READY)  ## start the relay on ws://127.0.0.1:9011/
	$(BIN)/python supervisor.py --workers 8

test: $(READY)  ## run the tests on every core
	$(BIN)/python -m pytest -n auto

chaos: $(READY)  ## kill a loaded relay at random for 20 minutes and check from outside
	$(BIN)/python -m tests.chaos --seconds 1200 --kills-per-minute 8

trials: $(READY)  ## overload a relay and kill its worker, and measure what others feel
	@failed=; \
	for name in slow-reader flood group stopped-worker full-mailbox recovery; do \
		$(BIN)/python -m tests.trials $$name || failed="$$failed $$name"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# One core for the relay, another for the load, and the reference in the same run.
LOADGEN := $(BIN)/python -m relay.loadgen
PINNED  := --spawn "--workers 1 --fronts 1" --relay-cpus 0 --load-cpus 1 --reference

bench: $(READY)  ## what a message costs, as a ratio to a bare reflector (2 minutes, 2 cores)
	$(LOADGEN) chat $(PINNED) --window 8 --for 15s
	$(LOADGEN) chat $(PINNED) --window 1 --for 15s
	$(LOADGEN) chat $(PINNED) --rate 3000 --for 15s

bench-full: bench bench-parts  ## the same, and every other scenario and part (5 minutes)
	$(LOADGEN) chat --spawn "--workers 1 --fronts 1" --window 8 --for 15s
	$(LOADGEN) chat --spawn "--workers 2 --fronts 2" --window 8 --for 15s
	$(LOADGEN) chat --spawn "--workers 8 --fronts 8" --window 8 --for 15s
	$(LOADGEN) group $(PINNED) --members 256 --for 15s
	$(LOADGEN) offline $(PINNED) --messages 100000
	$(LOADGEN) storm $(PINNED) --logins 10000
	$(LOADGEN) idle $(PINNED) --sockets 10000

bench-parts: $(READY)  ## what the parts of a message cost
	$(BIN)/python -m tests.bench.bench_wire
	$(BIN)/python -m tests.bench.bench_codec
	$(BIN)/python -m tests.bench.bench_store

bench-history: $(READY)  ## what a message costs after ten million (20 minutes)
	$(BIN)/python -m tests.bench.bench_history

lint: $(READY)  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check types
	$(BIN)/mypy

check: lint types test  ## everything that CI checks

setup: $(READY)  ## create .venv and install the dependencies

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -e '.[dev]'
	@touch $@

clean:  ## remove everything that was made here, but never data/
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
