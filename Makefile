# make run      the dashboard on http://127.0.0.1:8000, with a demonstration running (PORT= changes the port)
# make test     every test, PostgreSQL and a browser included (WORKERS= changes how many run at once)
# make torture  kill what works on sessions 1,000 times on each store (KILLS= changes the number)
# make bench  what it costs, beside its peers and beside the limit of the machine (ARGS= passes options)
# make pictures  takes the README's pictures anew
# make bench-ui  what people see of it, and how many at once, in a browser (ARGS= passes options)
SHELL := /bin/sh
PORT ?= 8000
KILLS ?= 1000
WORKERS ?= 4
PYTHON ?=
CHROMIUM ?=
export PYTHON CHROMIUM
RUN := .venv/bin/python
BIOME := npx --yes @biomejs/biome@2.6.8

.PHONY: run demo test bench bench-ui pictures lint format clean install

run:
	@scripts/install.sh
	@exec $(RUN) manage.py serve --port $(PORT)

# The demonstration alone, into the database that DATABASE_URL names.
demo:
	@scripts/install.sh
	@exec $(RUN) manage.py play_demo

install:
	@scripts/install.sh test

# Compiled code is kept, whatever the environment asks for: hundreds of processes begin with the same modules.
test: install
	@CHROMIUM="$$(scripts/browser.sh)" && TMPDIR="$$(scripts/scratch.sh)" && export CHROMIUM TMPDIR && \
		PYTHONDONTWRITEBYTECODE= exec $(RUN) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

bench:
	@scripts/install.sh bench
	@exec $(RUN) -m benchmarks $(ARGS)

bench-ui: install
	@CHROMIUM="$$(scripts/browser.sh)" && export CHROMIUM && exec $(RUN) -m benchmarks.ui $(ARGS)

pictures: install
	@CHROMIUM="$$(scripts/browser.sh)" && export CHROMIUM && exec $(RUN) scripts/pictures.py

torture: install
	@exec $(RUN) -m tests.promises.torture $(KILLS)

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@if command -v npx >/dev/null; then $(BIOME) lint static/js; else echo "No node: the JavaScript is not checked."; fi

format: install
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .
	@if command -v npx >/dev/null; then $(BIOME) lint --write static/js; fi

# What was installed, built or cached; the data in var/ stays.
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
