# Every target first sees to .venv, once: `make demo` needs no more than python3, make and gcc.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-ray test-alone check chaos integration parity format clean

demo: $(INSTALLED)  ## Segment the demo clip and show what came out.
	$(PY) -m jobs.demo

# In two processes side by side, for those on Ray's cluster often wait for it. Each computes with
# one thread: with more, the threads of one would wait for those of the other.
test: $(INSTALLED)  ## Run the tests.
	+OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 test-ray test-alone

test-ray: $(INSTALLED)
	$(PY) -m pytest -q -m "ray and not chaos and not ceph"

test-alone: $(INSTALLED)
	$(PY) -m pytest -q -m "not ray and not chaos and not ceph"

check: $(INSTALLED)  ## Everything a change must pass.
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(MAKE) --no-print-directory test

chaos: $(INSTALLED)  ## Kill actors, drivers and nodes, and see that nothing is lost: half an hour.
	$(PY) -m pytest -q -s tests/chaos -m "not ceph"

integration: $(INSTALLED)  ## All that speaks to S3, against Ceph's gateway and its troubles (Debian packages).
	$(PY) -m pytest -q -rs --s3 ceph -m "s3 or ceph"

parity: $(INSTALLED)  ## Compare with the published SAM 2, number by number.
	$(PY) tests/parity.py

format: $(INSTALLED)  ## Let ruff lay out the code.
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

clean:  ## Remove what the other targets made.
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is younger than the two files that say what to install, or the install runs again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Masklet needs Python 3.11 or later. Name one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'This Python cannot make virtual environments. Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into $(VENV): a few minutes, only this once.'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
