# `make test` and `make demo` do all their own set-up on a bare Debian or Ubuntu (as root).
SHELL = /bin/sh
PYTHON = .venv/bin/python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 16

demo: venv ## a mesh, a signed commit, a harmful one, a forged one: on the screen
	$(PYTHON) -m tests.lab.demo

test: venv ## all tests (PYTEST="-k name -x" for some); first those that have the processors for themselves
	@alone=0; rest=0; \
	$(PYTHON) -m pytest -m alone $(PYTEST) || alone=$$?; \
	$(PYTHON) -m pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder -m "not alone" $(PYTEST) || rest=$$?; \
	case $$alone,$$rest in 0,0 | 0,5 | 5,0) ;; *) exit 1 ;; esac # 5: PYTEST chooses none of them

unit: venv ## the tests that need neither root nor namespaces
	$(PYTHON) -m pytest tests/unit $(PYTEST)

bench: venv ## docs/benchmarks.md's tables and build/bench/benchmarks.json; root, 15 minutes (BENCH="--only gen")
	$(PYTHON) -m tests.bench $(BENCH)

bench-check: venv ## are the ratios of a quick part of it within tests/bench/bounds.toml?
	$(PYTHON) -m tests.bench --check $(BENCH)

soak: venv ## hours: the tests of signatures many times over, then what prints tables for docs/benchmarks.md
	WGMESH_SOAK=1 $(PYTHON) -m pytest --numprocesses auto --timeout 7200 tests/unit/test_trust_*.py $(PYTEST)
	$(PYTHON) -m tests.soak.converge
	$(PYTHON) -m tests.soak.loss
	$(PYTHON) -m tests.soak.restore
	$(PYTHON) -m tests.soak.rotate
	$(PYTHON) -m tests.soak.kill
	$(PYTHON) -m tests.soak.syncs
	$(PYTHON) -m tests.soak.aging
	$(PYTHON) -m tests.bench.one_peer --nodes 1000

mutants: venv ## which changes of wgmesh/trust/ no test notices; hours (FILES="sshkey.py" for some)
	$(PYTHON) -m pip --disable-pip-version-check install -q mutmut==3.8.1
	$(PYTHON) -m tests.mutate $(FILES)

fleet: venv checker ## booted Debian machines, as root (PYTEST="-k name -x" for some)
	$(PYTHON) -m tests.fleet.roots
	$(PYTHON) -m pytest tests/fleet $(PYTEST)

lint: venv ## ruff, mypy, codespell, shellcheck
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy wgmesh tests
	$(PYTHON) -m codespell_lib .
	shellcheck debian/wgmesh.bash-completion $$(git grep --no-index --exclude-standard -lE '^#!/bin/(ba)?sh' -- ':!*.py' ':!*.md')

docs: venv ## site/, from docs/
	$(PYTHON) -m mkdocs build --quiet --strict

deb: packager ## dist/wgmesh_VERSION_all.deb, with its source
	@debian/archive/deb dist

apt-repo: deb ## dist/apt, a signed apt repository (APT_KEY=FINGERPRINT to sign with yours)
	@debian/archive/apt-repo dist

package-check: checker ## the package as Debian wants it, in fresh roots, as root (SUITES=trixie)
	@/usr/bin/python3 -m tests.package.check $(SUITES)

stdeb-check: checker ## does the metadata in setup.cfg convert?
	@tests/package/stdeb-check

packager: ## the Debian packages that building the package needs
	@sh tests/setup.sh deb

checker: ## the Debian packages that checking the package needs
	@sh tests/setup.sh check

system: ## the Debian packages that the tests need
	@sh tests/setup.sh system

venv: system ## .venv/ with wgmesh and the tools
	@sh tests/setup.sh venv

clean: ## remove what make made
	rm -rf .venv site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf wgmesh.egg-info
	find wgmesh tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo test unit bench bench-check soak mutants fleet lint docs deb apt-repo package-check stdeb-check packager checker system venv clean
