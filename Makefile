# make demo: four attentions on two tasks, in about two minutes. make: the arena at the scale of config.yaml, from
# nothing. make test: the checks, and the tests of minutes. make long: the other tests.

# The first that is new enough; `make PYTHON=...` takes another.
NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c $(NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Whether .venv is whole, new enough and of this folder, or a link: its programs name the folder that it was made in.
OURS = test -L .venv || head -n 3 $(BIN)/pip 2>/dev/null | grep -qF '$(CURDIR)/$(BIN)/'
FIT = $(BIN)/python -c $(NEW_ENOUGH) 2>/dev/null && { $(OURS); }
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

# Snakemake and pip keep caches in the home folder; where that cannot be written, in this one.
ifneq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache" 2>/dev/null && test -w "$$cache" && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.DEFAULT_GOAL := arena
.PHONY: arena demo shown test long lint quick slurm docs coverage gpu clean

arena: .venv/installed
	$(BIN)/snakemake --cores $(CORES)

# In a folder of its own: data, results and logs are not mixed with the arena's.
demo: .venv/installed
	@mkdir -p demo
	$(BIN)/snakemake --cores $(CORES) --directory demo --configfile config.yaml config/demo.yaml

ifeq ($(shell test -e .venv/installed && { $(FIT) || echo unfit; }),unfit)
.PHONY: .venv/installed
endif

# Every step is skipped where nothing changed: a second `make` installs nothing.
.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c $(NEW_ENOUGH) 2>/dev/null || { echo "Error: $(or $(PYTHON),this machine) has no Python 3.11 or newer; install one, or say where it is: make PYTHON=..." >&2; exit 1; }
	@# A .venv of a Python that is too old or gone, half made or moved, is made anew.
	$(FIT) || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not long"

# What `make test` leaves out: runs killed at random moments, Slurm, conda, storage, rehearsals, generated code.
long: .venv/installed-dev slurm
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m long

# For the tests of the Slurm profile and of storage; where these cannot be installed they are skipped.
slurm:
	@{ command -v slurmctld && command -v munged && command -v rsync; } >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm slurm-client munge rsync >/dev/null; } || \
	  echo "no slurm-wlm, munge and rsync here: tests that need them will be skipped"

# Without the tests that run the whole workflow.
quick: .venv/installed-dev
	$(BIN)/pytest -m "not slow"

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# The documentation as a site, site/index.html; a broken link fails.
docs: .venv/installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --conf-dir docs . site

# Fails where the quick tests never reach a line of the package; shows which, also as pages: htmlcov/index.html.
coverage: .venv/installed-dev
	$(BIN)/pytest -m "not slow" --cov --cov-report term-missing:skip-covered --cov-report html --cov-fail-under 100

# Is my card fit for the arena? Checks and times it for 8 minutes; docs/scaling.md says how to read it.
gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py $(if $(MINUTES),--minutes $(MINUTES))

# The table and the figure of the documentation: the arena with three seeds, on a machine that does nothing else.
shown: .venv/installed
	@mkdir -p shown
	$(BIN)/snakemake --cores $(CORES) --directory shown --configfile config.yaml --config 'seeds=[1,2,3]'
	$(BIN)/python docs/shown.py shown/results

# What can be made again in minutes. Data and results stay, and with them .snakemake, which knows what made them.
clean:
	rm -rf .venv demo logs site htmlcov
	@echo "kept: data, results, shown, .snakemake; \`lra clean\` lists finished runs that config.yaml does not ask for"
