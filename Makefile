.DEFAULT_GOAL := help
.PHONY: demo answers test fuzz faults soak matrix verifier speed lint setup clean help

BIN := .venv/bin

demo:   ## the main job: one flow, stock against sprayed (needs root; sets up what is missing)
	@setup/install demo
	@$(BIN)/overspray bench bench/experiments/single_flow.toml

answers: ## what the paper's open questions need: about an hour (ARGS=--quick: minutes)
	@setup/install demo
	@$(BIN)/overspray answers $(ARGS)

test:   ## all tests (those that load BPF need root; sets up what is missing)
	@setup/install test
	@$(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup $(ARGS)

fuzz:   ## fuzz the NIC stage, keep what reaches more (ARGS='--seconds 60'; needs clang's runtime)
	@setup/install test
	@$(BIN)/python tests/fuzz $(ARGS)

faults: ## every fault at a hundred random moments under load: an hour (ARGS='--moments 10')
	@setup/install test
	@$(BIN)/python tests/faults $(ARGS)

soak:   ## ten minutes of load under change, every packet accounted for (ARGS='--for 8h')
	@setup/install test
	@$(BIN)/overspray soak $(ARGS)

matrix: ## other kernels, more cores, emulated: an hour (ARGS='--kernel 6.12 --cores 8')
	@setup/install test
	@$(BIN)/python tests/matrix $(ARGS)

verifier: ## what the verifier has to look at, program by program (needs root; ARGS="--why '…'")
	@setup/install test
	@$(BIN)/python tests/verifier $(ARGS)

speed:  ## how fast the model of the twin is, beside SimPy (ARGS=--keep: into docs/results)
	@setup/install test
	@$(BIN)/python tests/speed $(ARGS)

lint:   ## ruff and mypy
	@setup/install test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

setup:  ## only set up, for tests and demo
	@setup/install test

clean:  ## remove the virtual environment and caches; results stay
	rm -rf .venv *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:   ## this list
	@sed -n 's/^\([a-z]*\):  *## /\1\t/p' Makefile | expand -t 10
