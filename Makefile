# make demo: four attentions on two tasks, in a minute and a half. make: the whole arena at the scale of config.yaml.
# make test: style checks, and the tests that take minutes. make long: all other tests.

# The first Python that is new enough; `make PYTHON=...` takes another.
NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c $(NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Whether .venv is whole, new enough and of this folder, or a link: its programs name the folder that it was made in.
OURS = test -L .venv || head -n 3 $(BIN)/pip 2>/dev/null | grep -qF '$(CURDIR)/$(BIN)/'
FIT = $(BIN)/python -c $(NEW_ENOUGH) 2>/dev/null && { $(OURS); }
# In the order of tests/conftest.py, which also says what is handed out together. Three processes for two cores, because
# tests that run the workflow wait now and then, and one of the long ones mostly for Slurm.
PYTEST := $(BIN)/pytest --dist loadscope --no-loadscope-reorder --numprocesses 3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

# Snakemake and pip keep caches in the home folder, or in this folder if the home folder cannot be written.
ifneq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache" 2>/dev/null && test -w "$$cache" && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.DEFAULT_GOAL := arena
.PHONY: arena demo shown test long lint quick slurm docs coverage gpu clean

arena: .venv/installed
	$(BIN)/snakemake --cores $(CORES)

# In a folder of its own, so that its data, results and logs stay separate from the arena's.
demo: .venv/installed
	@mkdir -p demo
	$(BIN)/snakemake --cores $(CORES) --directory demo --configfile config.yaml config/demo.yaml

ifeq ($(shell test -e .venv/installed && { $(FIT) || echo unfit; }),unfit)
.PHONY: .venv/installed
endif

# If nothing has changed, every step is skipped: a second `make` installs nothing.
.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c $(NEW_ENOUGH) 2>/dev/null || { echo "Error: $(or $(PYTHON),this machine) has no Python 3.11 or newer; install one, or say where it is: make PYTHON=..." >&2; exit 1; }
	@# A .venv that is incomplete, was moved, or is of a Python that is too old or gone, is made again.
	$(FIT) || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

test: lint
	$(PYTEST) -m "not long"

# The tests that `make test` leaves out: runs killed at random, Slurm, conda, storage, rehearsals, generated code.
long: .venv/installed-dev slurm
	$(PYTEST) -m long

# Packages for the tests of the Slurm profile and of storage. If they cannot be installed, these tests are skipped.
slurm:
	@{ command -v slurmctld && command -v munged && command -v rsync; } >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm slurm-client munge rsync >/dev/null; } || \
	  echo "no slurm-wlm, munge and rsync here: tests that need them will be skipped"

# The tests that do not run the whole workflow.
quick: .venv/installed-dev
	$(BIN)/pytest -m "not slow"

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# The documentation as a site, site/index.html; a broken link is an error.
docs: .venv/installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --conf-dir docs . site

# Fails if the quick tests miss a line of the package; lists the lines, also in htmlcov/index.html.
coverage: .venv/installed-dev
	$(BIN)/pytest -m "not slow" --cov --cov-report term-missing:skip-covered --cov-report html --cov-fail-under 100

# Checks for 8 minutes whether this GPU is fit for the arena, and times it; docs/scaling.md explains the output.
gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py $(if $(MINUTES),--minutes $(MINUTES))

# Makes the table and the figure of the documentation: the arena with three seeds. Use a machine that is otherwise idle.
shown: .venv/installed
	@mkdir -p shown
	$(BIN)/snakemake --cores $(CORES) --directory shown --configfile config.yaml --config 'seeds=[1,2,3]'
	$(BIN)/python docs/shown.py shown/results

# What can be made again in minutes. Data and results stay, and with them .snakemake, which knows what made them.
clean:
	rm -rf .venv demo logs site htmlcov
	@echo "kept: data, results, shown, .snakemake; \`lra clean\` lists finished runs that config.yaml does not ask for"
