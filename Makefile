# `make` alone lists all targets. Everything is written to .venv and .local in this directory.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KAFKA := .local/kafka-programs
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help run kafka kafka-programs test test-all test-browser fuzz screenshots chromium lint format lock bench chaos clean

# What `make lint` checks, in this order; .pre-commit-config.yaml has a hook for each.
CHECKS := lint-style lint-format lint-types lint-imports lint-migrations lint-settings lint-security lint-packages
.PHONY: $(CHECKS)

help: ## list all targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1|/p' Makefile | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

# Only this trial start allows requests without credentials. An explicit value, even an empty one, is kept.
# `exec` makes a signal to make reach the program instead of a shell.
run: $(VENV)/.run $(if $(filter kafka,$(TRANSPORT)),$(if $(KAFKA_BOOTSTRAP_SERVERS),,$(KAFKA)/.whole)) ## install, prepare the database and start everything; Ctrl-C stops it
	@if [ -z "$${ANONYMOUS_ACCOUNT+set}$$DATABASE_URL" ] && ! grep -Eqs '^(export +)?(ANONYMOUS_ACCOUNT|DATABASE_URL)=' .env; \
	then export ANONYMOUS_ACCOUNT=demo; fi; $(if $(TRANSPORT),export ORDER_TRANSPORT="$(TRANSPORT)";) exec $(BIN)/python manage.py up

kafka: $(VENV)/.run $(KAFKA)/.whole ## download Apache Kafka and run only one node of it; Ctrl-C stops it
	@exec $(BIN)/python manage.py run_kafka

kafka-programs: $(KAFKA)/.whole ## download Apache Kafka (needs Java 17 and Maven)

test: $(VENV)/.development ## install and run the tests
	$(kafka_if_possible)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"

test-all: test ## run all tests: also whole installations under load, their backups and halts, and the pages in a browser
	@$(BIN)/python -m pytest -m alone
	@$(MAKE) test-browser

# The first of these tests waits until everything runs.
test-browser: $(VENV)/.development chromium ## test the pages in a real browser, Chromium
	@$(BIN)/python -m pytest -m browser lemon_market/tests/browser

# For example: make fuzz CASES=50000 SEED=7
fuzz: $(VENV)/.development ## check at least 10,000 answers of the API against its description
	@DJANGO_SETTINGS_MODULE=lemon_market.settings $(BIN)/python -m lemon_market.tests.fuzzing $(if $(CASES),--cases $(CASES)) $(if $(SEED),--seed $(SEED))

screenshots: $(VENV)/.development chromium ## renew the pictures of the README
	@$(BIN)/python -m lemon_market.tests.browser.screenshots

# Debian's own Chromium, not one that a test tool would download.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then echo "Installing Chromium ..." && \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null; \
	else echo "Chromium is needed: install it (on Debian and Ubuntu, as root: apt-get install chromium)" >&2; exit 1; fi

chaos: $(VENV)/.development $(if $(filter kafka,$(TRANSPORT)),$(KAFKA)/.whole) ## kill, freeze, deceive and halt everything at random under load (MINUTES=5 SEED=... TRANSPORT=kafka)
	@$(BIN)/python -m chaos --minutes $(or $(MINUTES),5) --transport $(or $(TRANSPORT),django_q) $(if $(SEED),--seed $(SEED))

lint: $(CHECKS) ## check style, types, import direction, migrations, settings, security and packages

$(CHECKS): $(VENV)/.development
$(CHECKS): export SECRET_KEY := only-for-checks-00000000000000000000000000000000000
$(CHECKS): export DATABASE_URL := postgres://nobody@127.0.0.1:1/none

lint-style:
	$(BIN)/python -m ruff check .

lint-format:
	$(BIN)/python -m ruff format --check .

lint-types:
	$(BIN)/python -m mypy . .ci/start_as_documented

lint-imports:
	$(BIN)/python $(BIN)/lint-imports --no-logo

lint-migrations:
	$(BIN)/python -W "ignore:Got an error checking:RuntimeWarning" manage.py makemigrations --check --dry-run

lint-settings:
	$(BIN)/python manage.py check

lint-security:
	$(BIN)/python -m bandit --quiet --recursive --configfile pyproject.toml .

lint-packages:
	$(BIN)/python -m pip check

# For example: make bench ROUNDS=5 SECONDS=60 ONLY=accept,place
bench: $(VENV)/.run ## measure Lemon Market and its peers, and write benchmarks/RESULTS.md
	$(kafka_if_possible)
	@exec $(BIN)/python -m benchmarks $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	$(if $(ONLY),--only $(ONLY)) $(BENCH_OPTIONS)

format: $(VENV)/.development ## format the code
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .

# Versions that still fit stay as they are. To upgrade all packages: make lock UPGRADE=yes
lock: $(VENV)/.development ## renew the locks after a change of requirements.txt or requirements-dev.txt
	$(BIN)/uv $(COMPILE) requirements.txt --output-file requirements.lock
	$(BIN)/uv $(COMPILE) --constraints requirements.lock requirements-dev.txt --output-file requirements-dev.lock

# For Python 3.11 and all later versions at once, with the hash of every file of each package.
COMPILE = pip compile --quiet --universal --python $(BIN)/python --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

clean: ## remove installed packages and the caches of tools; the data in .local stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.local/*' -prune -exec rm -rf {} +

# One stamp for each set of packages, which pip installs from its lock: exactly these versions, dependencies included, and only
# files whose hash is in the lock. An environment without `.whole` was not completed and is made anew, since pip does not notice
# every package in which it was interrupted.
$(VENV)/.run: requirements.lock $(BIN)/python
	$(call install,requirements.lock)

$(VENV)/.development: requirements-dev.lock requirements.lock $(BIN)/python
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.run

define kafka_if_possible
@if command -v mvn > /dev/null && command -v java > /dev/null; then $(MAKE) kafka-programs || echo "Everything that needs Kafka is skipped."; fi
endef

define install
@[ -e $(VENV)/.whole ] || { rm -rf $(VENV); $(MAKE) $(BIN)/python; }
@echo "Installing $(1) into $(VENV) ..."
@rm $(VENV)/.whole
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
@touch $(VENV)/.whole $@
endef

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or newer is needed, and $(PYTHON) is older: name another with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || \
	{ echo "$(PYTHON) lacks venv: install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@touch $(VENV)/.whole

# Maven keeps downloads in its own cache, as pip does, and this folder gets a copy.
$(KAFKA)/.whole: devstack/kafka-pom.xml
	@command -v mvn > /dev/null && command -v java > /dev/null || \
	{ echo "Java 17 and Maven are needed (on Debian: apt-get install default-jre-headless maven)" >&2; exit 1; }
	@echo "Downloading Apache Kafka into $(KAFKA) ..."
	@rm -rf $(KAFKA) && mkdir -p .local
	@mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$(CURDIR)/$(KAFKA)" > $(KAFKA).log || \
	{ cat $(KAFKA).log >&2; exit 1; }
	@touch $@
