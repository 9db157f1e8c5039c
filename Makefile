# Two commands set everything up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUTPUT ?= out
INSTALL := -m pip install --quiet --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL)
CHECKOV := $(VENV)/checkov

.PHONY: help setup run test check bench soak contracts lock clean terraform-check terraform-test terraform-docs
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(VENV)/.installed  ## Install what `earwitness` needs into .venv

run: $(VENV)/.installed  ## Transcribe a real two-speaker recording on the local cloud
	@$(BIN)/earwitness transcribe "$$($(BIN)/python -m infra.cli.sample)" --output $(OUTPUT)

test: $(VENV)/.installed-test  ## Run all tests but Terraform's
	$(BIN)/python -m pytest -n 3 --dist loadfile --ignore tests/terraform $(PYTEST_ARGS)

check: $(VENV)/.installed-test  ## Lint, format, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.installed-test  ## Measure quality and speed
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

soak: $(VENV)/.installed-test  ## Kill things at random while 500 jobs run: is anything lost, or done twice?
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

contracts: $(VENV)/.installed  ## Write the event and document schemas to shared/contracts
	$(BIN)/python -m infra.contracts

terraform-check: $(CHECKOV)/.installed  ## Look for what is unsafe in terraform/, and print what is allowed why
	$(CHECKOV)/bin/python -m tests.terraform.scan

# With the registry's provider, or with a stand-in where there is a tool that makes one.
terraform-test: $(VENV)/.installed-test  ## Test all of terraform/ with each major of Google's provider
	EARWITNESS_TFOFFLINE="$${EARWITNESS_TFOFFLINE:-$(realpath ../shared/tools/tfoffline)}" \
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/terraform $(PYTEST_ARGS)

terraform-docs: $(VENV)/.installed-test  ## Write the tables of each README under terraform/, and ACCESS.md
	$(BIN)/python -m tests.terraform.documentation
	$(BIN)/python -m tests.terraform.access

# torch stands outside the hashed locks because its build differs by platform and accelerator; what it
# depends on beyond the locks (CUDA libraries, where it has them) comes with it.
$(VENV)/.installed: infra/locks/all.txt pyproject.toml
	@echo "Setting up $(VENV) (a few minutes the first time) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Earwitness needs Python 3.11 or newer.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --no-deps --require-hashes -r infra/locks/all.txt
	@$(PIP) torch==2.13.0
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.installed-test: infra/locks/test.txt $(VENV)/.installed
	@$(PIP) --no-deps --require-hashes -r infra/locks/test.txt
	@touch $@

# What checkov depends on conflicts with what the tests do, so it has an environment of its own.
$(CHECKOV)/.installed: infra/locks/checkov.txt
	@test -x $(CHECKOV)/bin/python || $(PYTHON) -m venv $(CHECKOV)
	@$(CHECKOV)/bin/python $(INSTALL) --no-deps --require-hashes -r infra/locks/checkov.txt
	@touch $@

COMPILE := uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
LOCK := $(COMPILE) pyproject.toml
WITHOUT_TORCH := $(foreach name,torch triton setuptools nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx cuda-bindings \
	cuda-pathfinder cuda-toolkit,--no-emit-package $(name))

lock:  ## Resolve and pin all dependencies again (needs uv)
	$(LOCK) $(WITHOUT_TORCH) --extra all --extra test --output-file infra/locks/test.txt
	$(LOCK) $(WITHOUT_TORCH) --extra all --constraints infra/locks/test.txt --output-file infra/locks/all.txt
	$(LOCK) --extra transcribe --extra cuda --constraints infra/locks/test.txt --output-file gpu_jobs/locks/transcribe.txt
	$(LOCK) --extra diarize --constraints infra/locks/test.txt --output-file gpu_jobs/locks/diarize.txt
	for name in api fetch notify on_upload orchestrate on_report sweep; do \
		$(LOCK) --extra $$(echo $$name | tr _ -) --constraints infra/locks/test.txt \
			--output-file functions/$$name/requirements.txt || exit 1; \
	done
	echo checkov==3.3.30 | $(COMPILE) --output-file infra/locks/checkov.txt -

clean:  ## Remove the environment and results
	rm -rf $(VENV) $(OUTPUT)
