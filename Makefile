# make demo: the main job. make test: the tests. Each sets up .venv first when that is needed.
# make android, test-android, demo-android, apk, aar, host-app: the Kotlin phone; docs/android.md says
# what for.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Address of a package index that has CPU-only torch wheels, for those who have one (saves 4 GB).
TORCH_INDEX ?=
BIN := .venv/bin
# Tests share the cores: neighbours stay together, a worker that is done takes from the other.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

ANDROID := android_harness/android
# Android's versions and Kotlin's linters are large: fetched once a machine, by Maven.
FETCH := mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy
KTLINT := build/android/tools/ktlint-cli-1.8.0-all.jar
DETEKT := build/android/tools/detekt-cli-1.23.8-all.jar

.PHONY: setup demo test lint format stubs check-wheel clean
.PHONY: android android-tools lint-android format-android test-android demo-android apk aar host-app

setup: .venv/.dev

# .venv with one of pyproject.toml's extras; `dev` has all of them.
.venv/.%: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "fedvoice needs Python 3.11 or newer, got %d.%d: make setup PYTHON=/path/to/python3.11" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[$*]'
	touch $@

# Only what the demo needs, unless all is there already.
demo: $(if $(wildcard .venv/.dev),setup,.venv/.fleet)
	$(BIN)/fedvoice simulate --config experiments/demo.toml --out runs/demo --overwrite

# The Kotlin phone's tests are test-android's.
test: setup
	$(PYTEST) --ignore=tests/android

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m fedvoice.protocol.generate --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: setup
	$(BIN)/python -m fedvoice.protocol.generate

# Every extra of the built wheel in a fresh environment, torch at both ends of its range.
check-wheel: setup
	$(BIN)/python -m tests.packaging.check_wheel

# Program:package of what the Kotlin phone needs beside Python, by Debian's names.
TOOLS := javac:openjdk-17-jdk-headless mvn:maven npm:npm gcc:gcc+libc6-dev readelf:binutils \
    aapt2:aapt zipalign:zipalign apksigner:apksigner dexdump:dexdump adb:adb ip:iproute2

android-tools:
	missing=; for pair in $(TOOLS); do \
	    command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    apt-get update -q && \
	    apt-get install -y -q --no-install-recommends $$(echo $$missing | tr + ' '); \
	fi

android: setup
	$(BIN)/python -m fedvoice.android_harness.emulation.build

$(KTLINT):
	$(FETCH) -Dartifact=com.pinterest.ktlint:ktlint-cli:1.8.0:jar:all -DoutputDirectory=$(CURDIR)/build/android/tools

$(DETEKT):
	$(FETCH) -Dartifact=io.gitlab.arturbosch.detekt:detekt-cli:1.23.8:jar:all -DoutputDirectory=$(CURDIR)/build/android/tools

lint-android: $(KTLINT) $(DETEKT)
	cd $(ANDROID) && java -jar $(CURDIR)/$(KTLINT) --relative '*/src/**/*.kt' '!**/target/**'
	java -jar $(DETEKT) --config $(ANDROID)/detekt.yml --build-upon-default-config --input $(ANDROID) --includes '**/src/main/**/*.kt'

format-android: $(KTLINT)
	cd $(ANDROID) && java -jar $(CURDIR)/$(KTLINT) --relative --format '*/src/**/*.kt' '!**/target/**'

# Android's ExecuTorch binary in a JVM, Robolectric on API 28, 34 and 35, the real Python server.
# Maven compiles and tests once; the phone and the app are made of what passed.
test-android: setup lint-android
	$(BIN)/python -m fedvoice.android_harness.emulation.build --verify
	$(BIN)/python -m fedvoice.android_harness.apk.build
	$(BIN)/python -m fedvoice.android_harness.aar.build --host-app
	$(PYTEST) tests/android

apk: setup
	$(BIN)/python -m fedvoice.android_harness.apk.build

# The SDK as one artifact of a local Maven repository, and an app of somebody else built from it.
aar: setup
	$(BIN)/python -m fedvoice.android_harness.aar.build

host-app: setup
	$(BIN)/python -m fedvoice.android_harness.aar.build --host-app

demo-android: android
	$(BIN)/fedvoice simulate --config experiments/demo.toml --phones android=4 --out runs/demo-android --overwrite

clean:
	rm -rf .venv runs build $(ANDROID)/target $(ANDROID)/*/target .mypy_cache .ruff_cache .pytest_cache *.egg-info
