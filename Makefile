# rnnrt. From a fresh clone, with Python >= 3.10 and a C compiler, nothing else:
#
#   make demo    convert a real speech denoiser to f32 and int8, verify both, clean a noisy recording, time it
#   make test    build and run every test
#
#   make check   ruff, mypy, stubtest, clang-format        make format  let ruff and clang-format rewrite
#   make bench   time one GRU and one LSTM step            make build   only the package, into .venv
#   make bench-readme   measure the tables of README.md and docs/speed.md again
#   make bench-peers    beside other libraries, each as it is installed: docs/benchmarks.* (PEERS_PYTHON=, TENSORFLOW=)
#   make bench-web      the JavaScript package beside onnxruntime-web (npm): the table of js/README.md
#   make amalgamation   the C library as build/amalgamation/rnnrt.c and rnnrt.h
#   make js      the JavaScript package as build/js         make js-demo  a page that uses it, on http://localhost:8000
#   make clean   remove everything that make has made
#
# What is made lies in .venv, build and models, all ignored by git. Stamp files keep a second call short.

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint scripts/constraints.txt

# What an extra of pyproject.toml lists, in versions of scripts/constraints.txt.
extra = $(shell sed -n 's/^$(1) = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d '",')

C_CODE := $(wildcard src_c/*/*.[ch] rnnrt/*.[ch] benchmarks/*.c tests/*/*.[ch] examples/c/*.[ch])
# The extension is built again when one of these changes; Python files need no build (the install is editable).
SOURCES := pyproject.toml setup.py $(wildcard rnnrt/*.p[yx][xdi] rnnrt/*.[ch] src_c/*/*.[ch])
PYTHON_CODE := setup.py rnnrt converters scripts examples tests $(wildcard benchmarks)

.PHONY: amalgamation bench-web bench-peers bench-readme help js js-demo build demo test check check-style check-types check-c format bench clean
.DELETE_ON_ERROR:

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

build: $(STAMPS)/rnnrt

demo: $(STAMPS)/rnnrt
	$(BIN)/python examples/demo.py

test: $(STAMPS)/rnnrt $(STAMPS)/test
	scripts/apt_packages.sh
	$(BIN)/python scripts/fetch_models.py
	$(BIN)/pytest --numprocesses auto --dist loadfile

check: check-style check-types check-c

check-style: $(STAMPS)/check
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)

check-types: $(STAMPS)/test $(STAMPS)/check build/types/rnnrt
	MYPYPATH=build/types $(BIN)/mypy -p rnnrt
	MYPYPATH=build/types:examples:scripts:benchmarks $(BIN)/mypy scripts/*.py examples/*.py benchmarks/*.py
	MYPYPATH=build/types $(BIN)/stubtest rnnrt._rnnrt

check-c: $(STAMPS)/check
	$(BIN)/clang-format --dry-run -Werror $(C_CODE)

format: $(STAMPS)/check
	$(BIN)/ruff check --fix $(PYTHON_CODE)
	$(BIN)/ruff format $(PYTHON_CODE)
	$(BIN)/clang-format -i $(C_CODE)

bench: $(STAMPS)/rnnrt $(STAMPS)/plot
	$(BIN)/rnnrt bench --compare gru lstm

bench-readme: $(STAMPS)/rnnrt
	$(BIN)/python benchmarks/measure.py --readme README.md --page docs/speed.md

# PEERS_PYTHON: a Python with rnnrt and the peers; TENSORFLOW: one with tensorflow and ai-edge-quantizer, for LiteRT's models
PEERS_PYTHON ?= $(BIN)/python
bench-peers: $(STAMPS)/rnnrt $(STAMPS)/plot
	$(PEERS_PYTHON) benchmarks/peers.py --json docs/benchmarks.json --markdown docs/benchmarks.md \
	    --plot docs/benchmarks.png $(if $(TENSORFLOW),--tensorflow-python $(TENSORFLOW))

amalgamation: $(STAMPS)/rnnrt
	$(BIN)/python scripts/amalgamate.py build/amalgamation

bench-web: $(STAMPS)/rnnrt
	$(BIN)/python benchmarks/web.py --readme js/README.md

js: $(STAMPS)/rnnrt
	$(BIN)/python scripts/build_js.py build/js

js-demo: $(STAMPS)/rnnrt
	$(BIN)/python scripts/build_js_demo.py build/js-demo
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/js-demo 8000

clean:
	rm -rf .venv build dist models src_c/build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f rnnrt/*.so rnnrt/_rnnrt.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- what the targets above stand on ----

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "make: $(PYTHON) is older than Python 3.10; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_path("include"), "Python.h"))' 2>/dev/null || \
	    { echo "make: no Python.h beside $(PYTHON); on Debian: apt-get install python3-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { echo "make: $(PYTHON) can't make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/tools: $(STAMPS)/venv scripts/constraints.txt
	$(PIP) setuptools Cython numpy
	touch $@

$(STAMPS)/rnnrt: $(STAMPS)/tools $(SOURCES)
	$(PIP) --no-build-isolation --editable '.[convert]'
	touch $@

$(STAMPS)/plot: $(STAMPS)/rnnrt
	$(PIP) $(call extra,plot)
	touch $@

$(STAMPS)/test: $(STAMPS)/rnnrt
	$(PIP) $(call extra,test)
	touch $@

$(STAMPS)/check: $(STAMPS)/venv scripts/constraints.txt
	$(PIP) $(call extra,dev)
	touch $@

# The package as mypy looks for it: converters is installed as rnnrt.converters.
build/types/rnnrt: $(wildcard rnnrt/*) $(STAMPS)/venv
	rm -rf $@
	mkdir -p $@
	ln -s $(addprefix ../../../,$(wildcard rnnrt/*)) ../../../converters $@/
