# make install | demo [TASK=det|seg|cls] | test | test-slow | test-gpu | lint | docs
# Needs Python >= 3.10 and nothing else; PYTHON=python3.12 names another one than python3.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export OMP_WAIT_POLICY ?= PASSIVE

TASK ?= det
CONFIG_det := mask-rcnn_vmamba-nano_handwriting
CONFIG_seg := upernet_vmamba-nano_handwriting
CONFIG_cls := cls_vmamba-nano_handwriting
CONFIG = $(or $(CONFIG_$(TASK)),$(error TASK=$(TASK) is not one of det, seg, cls))
WORK_DIR = work_dirs/$(CONFIG)

.PHONY: install demo test test-slow test-gpu lint docs

install: $(VENV)/.installed

# Quick when nothing changed: the stamp is newer than what it depends on.
$(VENV)/.installed: requirements.txt setup.py mmmamba/version.py
	@$(PYTHON) tools/misc/check_python.py
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# Training resumes what is there, so that running it again costs no more than the evaluation.
demo: install
	$(RUN) tools/misc/prepare_handwriting.py
	$(RUN) tools/train.py configs/demo/$(CONFIG).py --resume
	$(RUN) tools/test.py configs/demo/$(CONFIG).py $(WORK_DIR) --show-dir $(WORK_DIR)/pictures \
	  --out $(WORK_DIR)/metrics.json
	@echo; $(RUN) -m json.tool $(WORK_DIR)/metrics.json; echo 'pictures: $(WORK_DIR)/pictures'

# Files of tests side by side, each of one thread; more processes than four would want more memory than a laptop has.
test: install
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-slow: install
	$(RUN) -m pytest -q -m slow

test-gpu: install
	$(RUN) -m pytest -q -m gpu

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# The site, in site/; a warning fails.
docs: install
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
