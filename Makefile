# make demo   train, test and run a detector on a small generated data set (installs everything first)
# make test   the test suite            make lint   ruff and mypy            make clean   what the demo made
# make docs   the documentation's site, in site/; make docs-output runs the commands that it shows, and writes what they print
# make fuzz   20,000 changed files through every reader, led by coverage (docs/security.md)
# make kills  200 runs killed and resumed (docs/reliability.md)
# make faults a full disk and the like, done to a run (needs root)
# make processes   4 processes of torchrun beside 1, and two machines beside one (docs/reliability.md)
# make two-machines   torchrun on two network namespaces, one of which is cut off (root, Linux)
# make gpu    the GPU's path beside the CPU's, and its time (docs/performance.md); DATA=data/VOCdevkit
# make peers  OpenCV with its contrib modules in .venv-peers, which tools/benchmark.py proposals measures against
# make shipped DATA=data/VOCdevkit   trains, calibrates and tests the detector in spp_det/models
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.installed

.PHONY: demo test lint docs fuzz kills faults processes two-machines shipped gpu peers clean

demo: $(READY)
	$(BIN)/python tools/train_net.py --config configs/shapes.toml --out runs/shapes
	$(BIN)/python tools/test_net.py --run runs/shapes --timing 1
	$(BIN)/python tools/detect.py --run runs/shapes --split test --images 8 --out runs/shapes/pictures

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/zensical build --clean --strict

docs-output: $(READY)
	$(BIN)/python docs/outputs.py

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	PYTHONPATH=tests $(BIN)/python tests/heavy/guided_fuzz.py --inputs 20000

kills: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/heavy/kills.py --kills 200

faults: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/heavy/faults.py

DATA ?= data/VOCdevkit
shipped: $(READY)
	$(BIN)/spp-det train --config configs/voc0712_lite0.toml --data $(DATA) --out runs/voc0712_lite0
	$(BIN)/spp-det calibrate runs/voc0712_lite0 --split 2012/val --data $(DATA)
	$(BIN)/spp-det test runs/voc0712_lite0 --data $(DATA) --split 2012/val
	$(BIN)/spp-det test runs/voc0712_lite0 --data $(DATA)
	$(BIN)/python tools/ship_detector.py --run runs/voc0712_lite0

processes: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/heavy/processes.py cost
	PYTHONPATH=tests $(BIN)/python tests/heavy/processes.py machines

two-machines: $(READY)
	$(BIN)/python -m pytest tests/heavy/two_machines.py

gpu: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/reference/device_path.py cuda
	$(BIN)/python tools/benchmark.py gpu --data $(DATA)
	$(BIN)/python tools/benchmark.py gpu --data $(DATA) --scales 480 576 688 864 1200

peers: $(PEERS_READY)

clean:
	rm -rf runs/shapes data/shapes site

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "spp_det needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }

# The stamp is written last: an installation that was stopped is done again.
$(READY): pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Installing into $(VENV): PyTorch and the rest, several GB, some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --editable '.[s3-test]'
	@touch $(READY)

# opencv-contrib-python and opencv-python are both the module cv2, so they cannot share an environment.
$(PEERS_READY):
	@$(CHECK_PYTHON)
	@echo "Installing into $(PEERS): OpenCV with its contrib modules, 0.3 GB, a minute the first time."
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS)/bin/python -m pip install --quiet 'opencv-contrib-python>=4.9' 'numpy>=1.26'
	@touch $(PEERS_READY)
