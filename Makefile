# Two commands do everything: `make report` (the main job) and `make test`. Both install first.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt
# Of the notebooks, `make test` runs these; `make nightly` and `make notebooks` run all.
QUICK := notebooks/02_proving_an_order.ipynb notebooks/03_closed_form_trajectories.ipynb
# Outputs are stored without times; a cell tagged "live" needs a kernel, so nothing of it is stored.
STORE := --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
	--ExecutePreprocessor.store_widget_state=False \
	--NotebookExporter.preprocessors=nbconvert.preprocessors.TagRemovePreprocessor \
	--TagRemovePreprocessor.remove_all_outputs_tags=live
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.PHONY: report test nightly check prove certify notebooks docs bench lab clean

report: $(VENV)/.base.stamp  ## proofs, measured orders and pictures into report/index.html
	$(PY) -m experiments report

test: check  ## static checks, then the whole suite and two notebooks
	$(PY) -m pytest -q -n 2 --nbmake tests $(QUICK)

nightly: check  ## the same suite with every long check at full size, and all notebooks
	SCOREPROOF_SIZE=nightly $(PY) -m pytest -q -n 2 --nbmake

check: $(VENV)/.dev.stamp  ## style, types, import contracts, notebook pairs
	$(PY) -m ruff check && $(PY) -m pyright --pythonpath $(PY) && $(VENV)/bin/lint-imports --no-logo --no-cache && $(PY) -m pytest -q tests/whole/test_project.py -k pair

prove: $(VENV)/.base.stamp  ## the order of every registered method
	$(PY) -m theory prove

certify: $(VENV)/.base.stamp  ## prove again and rewrite theory/certificates
	$(PY) -m theory certify

notebooks: $(VENV)/.dev.stamp  ## make every .ipynb from its .py, execute it and store what it shows
	$(PY) -m jupytext --to ipynb --update notebooks/*.py && $(PY) -m nbconvert $(STORE) notebooks/*.ipynb

docs: $(VENV)/.dev.stamp  ## print the text blocks of the pages again, and make the pages of the packages in report/api
	$(PY) -m experiments.pages && $(PY) -m pdoc --docformat google --no-show-source -o report/api solvers theory gaussian_score experiments

bench: $(VENV)/.base.stamp  ## speed and memory of scores and moments, beside the machine's own rate
	$(PY) -m experiments.bench

lab: $(VENV)/.dev.stamp  ## JupyterLab with the packages importable; options in LAB, e.g. LAB=--no-browser
	$(PY) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks

clean:
	rm -rf .venv report build *.egg-info .pytest_cache .ruff_cache .hypothesis

$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base.stamp: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e ".[speed]" && touch $@

$(VENV)/.dev.stamp: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e ".[dev,notebooks,speed]" && touch $@
