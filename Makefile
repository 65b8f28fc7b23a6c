# make demo: set up and run the loop. make test: everything that CI runs. State lies in $RECLOOP_HOME, default .recloop/.
BIN := .venv/bin

.PHONY: setup demo up down test test-faults lint bench bench-ranker bench-stream bench-policy bench-loop clean lock

setup:
	@sh pipelines/local/setup.sh

demo: setup
	@$(BIN)/recloop demo

up: setup
	@$(BIN)/recloop up

down:
	@if [ -x $(BIN)/recloop ]; then $(BIN)/recloop down; fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

test-faults: setup
	$(BIN)/pytest -m faults

bench: setup
	@$(BIN)/python benchmarks/hour_timing.py && $(BIN)/python benchmarks/loop_reward.py

# MovieLens-100K out of a wheel of the package index (see README, Licences); with RECLOOP_BENCH_DATA, the folder that holds online_retail/,
# Online Retail too. The peers come from the package index. SEEDS: runs of each,
# a claim wants five. What was finished is kept in .recloop-bench/ (or $RECLOOP_BENCH_ROOT): run again, it goes on from there.
SEEDS ?= 1
bench-ranker: setup
	@$(BIN)/uv pip install --quiet -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.ranker.movielens --seeds $(SEEDS)
	@if [ -n "$$RECLOOP_BENCH_DATA" ]; then $(BIN)/python -m benchmarks.ranker.online_retail --seeds $(SEEDS); \
	else echo "Online Retail is left out: RECLOOP_BENCH_DATA names no folder"; fi

bench-stream: setup
	@$(BIN)/python -m benchmarks.ranker.stream
	@$(BIN)/python -m benchmarks.ranker.learning_policies
	@$(BIN)/python -m benchmarks.ranker.transfer
	@$(BIN)/python -m benchmarks.ranker.tasks

# obp is taken without what it asks for, which would change the locked environment.
bench-policy: setup
	@$(BIN)/uv pip install --quiet --no-deps -r benchmarks/off_policy/requirements.txt
	@$(BIN)/python -m benchmarks.off_policy.against_obp
	@$(BIN)/python -m benchmarks.off_policy.coverage
	@$(BIN)/uv pip install --quiet -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.policy.streams

# Parallel worlds in this process, about ten minutes of bootstrap a seed and two a live hour of each of three branches.
bench-loop: setup
	@$(BIN)/python -m benchmarks.closed_loop.drift_and_poison --speed fast --seeds 11 12

# Names what recloop made, and never the folder itself: RECLOOP_HOME may hold other things too.
clean: down
	@root="$${RECLOOP_HOME:-.recloop}"; for name in warehouse landing candidates releases mlflow airflow run logs truth cache recloop.yaml; do \
		rm -rf -- "$${root:?}/$$name"; done; rmdir -- "$$root" 2> /dev/null || true

lock:
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 requirements.in -o requirements.lock
