.DEFAULT_GOAL := help
.PHONY: setup demo test test-long stress lint clean help

PYTHON := .venv/bin/python

setup:     ## system packages, and .venv with the project in it; done once, it costs nothing
	@setup/install

demo:      ## one container flow, stock against sprayed: a report in ten minutes (ARGS=--quick: in two)
	@setup/install
	@.venv/bin/overspray doctor
	@.venv/bin/overspray demo $(ARGS)

test:      ## the gate: unit, BPF and lab tests (as root; ARGS='-k lab -x' goes to pytest)
	@setup/install
	@exec setpriv --pdeathsig KILL $(PYTHON) -m pytest -n 2 --dist loadgroup $(ARGS)

test-long: ## what takes longer than the gate may: set-up from nothing, kills at random moments, tshark
	@setup/install
	@exec setpriv --pdeathsig KILL $(PYTHON) -m pytest -m long $(ARGS)

stress:    ## the lab tests 30 times, half of them with every core busy (ARGS='--times 4')
	@setup/install
	@$(PYTHON) tests/stress.py $(ARGS)

lint:      ## ruff and mypy, as the gate runs them
	@setup/install
	@$(PYTHON) -m pytest tests/unit/test_lint.py $(ARGS)

clean:     ## remove .venv and caches
	rm -rf .venv .setup *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:      ## this list
	@sed -n 's/^\([a-z-]*\): *## /\1\t/p' Makefile | expand -t 11
