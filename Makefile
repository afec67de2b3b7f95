# The README's two commands are `make up` and `make test`; everything else is beside them.
# DRIVER: libvirt as root on Linux, else sim.  DIR: where the development fabric lives.
SHELL := /bin/bash
DRIVER ?= $(shell [ "$$(id -u)" = 0 ] && echo libvirt || echo sim)
NODES ?= 3
DIR ?= .fabric/dev
PYTEST_ARGS ?=
FABRIC := .venv/bin/fabric

.PHONY: up down setup run-setup test unit lint bench soak chaos mutants api-postgres fuzz clean help lock

help:            ## What can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup:           ## Install all that `make test` needs: system packages (as root), .venv, stock clients
	@WITH_TESTS=1 WITH_CLIENTS=1 DRIVER=$(DRIVER) ./.ci/setup.sh

run-setup:
	@DRIVER=$(DRIVER) ./.ci/setup.sh

up: run-setup       ## Start a fabric of NODES hosts on this machine and boot a first server
	@$(FABRIC) dev up --nodes $(NODES) --driver $(DRIVER) --dir $(DIR) --first-server

down:            ## End it and remove every trace
	@if [ -x $(FABRIC) ]; then $(FABRIC) dev down --dir $(DIR); else echo "no .venv: nothing is running from here"; fi

test: setup lint ## Set up and run everything: lint, types, import rules, all tests
	@./.ci/tests.sh $(PYTEST_ARGS)

unit: setup  ## Only the fast tests
	.venv/bin/pytest tests/unit tests/property tests/golden tests/tidy -q

lint: setup ## ruff, mypy --strict
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup ## Every benchmark; each prints JSON, or a table
	@WITH_BENCH=1 WITH_TESTS=1 DRIVER=$(DRIVER) ./.ci/setup.sh
	@for file in bench/*.py; do case $$file in */_*) ;; *) echo "## $$file"; .venv/bin/python $$file || exit 1;; esac; done

soak: setup ## Long simulation: SEEDS seeds of every simulated scenario
	SEEDS=$${SEEDS:-2000} .venv/bin/pytest tests/sim -q --timeout=14400

chaos: setup ## Five agents, harm of every kind, both engines; nothing may be lost. NEMESIS=kill,split ROUNDS=50 ENGINE=embedded SEED=7 BED=dev choose
	.venv/bin/python -m tests.chaos $(if $(NEMESIS),--nemesis $(NEMESIS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(SEED),--seed $(SEED)) $(if $(BED),--bed $(BED))

mutants: setup ## Plant known bugs, one at a time in a private copy, and print how many the tests kill
	.venv/bin/python -m tests.mutants

api-postgres: setup ## The API's tests again, over PostgreSQL
	FABRIC_TEST_STATE=postgresql .venv/bin/pytest tests/api -q

fuzz:            ## Fuzz every decoder and the membership core (atheris): MINUTES of processor time in all, 10 by default
	@WITH_FUZZ=1 DRIVER=sim ./.ci/setup.sh
	@MINUTES=$${MINUTES:-10} .venv-fuzz/bin/python -m tests.fuzz $(FUZZ_TARGETS)

lock: setup      ## Write the lock files anew from pyproject.toml
	./.ci/lock.sh

clean: down      ## Also remove the virtual environments and caches
	rm -rf .venv .venv-clients .venv-fuzz .venv-nova .mypy_cache .ruff_cache .hypothesis build *.egg-info .fabric
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
