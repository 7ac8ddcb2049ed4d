# SPDX-License-Identifier: Apache-2.0
"""What `pip install qrmi-providers[EXTRA]` gives a user works, for each extra named on the command line.

The sdist is built from the checkout and the wheel from the sdist; the wheel is installed into an empty environment
outside the checkout, `bare` without any extra. There everything that the extra promises imports, every entry point
loads, no installed package contradicts another, `qrmi --help` answers, and `qrmi slurm files` has its files.

`make check` leaves out the extra `emulators`, which brings gigabytes of torch: `make test-all` looks at it, and runs
there the tests of what is installed nowhere else.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"qrmi_core", "qrmi_qiskit", "qrmi_pulser"}
NEEDS = {
    "qiskit": {"qrmi_qiskit"},
    "qiskit-qpu": {"qrmi_qiskit"},
    "pulser": {"qrmi_pulser"},
    "emulators": {"qrmi_pulser"},
    "qiskit-pasqal": {"qrmi_pulser", "qrmi_qiskit"},
    "all": {"qrmi_pulser", "qrmi_qiskit"},
}
AT_ONCE = 2
"""How many extras are looked at side by side."""
# Tests to run where an extra is installed, and what they need besides it.
TESTS = {
    "emulators": (["qoolqit>=1.5"], ["tests/unit/pulser/test_emulators.py", "tests/unit/pulser/test_qoolqit.py"]),
}

SMOKE = """
import importlib, importlib.metadata, pkgutil, sys

# Modules for which there are extras of their own, and the packages without which they cannot be imported.
SERVER = {"aiohttp", "msgspec", "multidict", "yarl"}
SIMULATORS = dict.fromkeys(("qrmi_qiskit.aer", "qrmi_qiskit.felis", "qrmi_qiskit.iqm"), {"qiskit_aer"})
APART = {
    "qrmi_core.gateway": SERVER, "qrmi_core.conformance": SERVER, "qrmi_pulser.qiskit_backend": {"qiskit"}, **SIMULATORS
}
there, *packages = sys.argv[1:]
for package in packages:
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + ".", onerror=lambda name: None):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                lacking = set().union(*(needs for start, needs in APART.items() if found.name.startswith(start)))
                if error.name not in lacking - set(there.split(",")):
                    raise
for entry in importlib.metadata.distribution("qrmi-providers").entry_points:
    # What knows a framework is asked for only where that framework is.
    if entry.group not in ("qrmi.conformance", "qrmi.converters") or entry.value.split(".")[0] in packages:
        entry.load()
"""

WITHOUT_SIMULATORS = """
import importlib.util
from qrmi_core import ResourceNotFound
from qrmi_qiskit import QRMIProvider

assert not any(map(importlib.util.find_spec, ("qiskit_aer", "qiskit_ibm_runtime")))
try:
    QRMIProvider().backend("aer_fez")
except ResourceNotFound as error:
    assert str(error).endswith("need qiskit-ibm-runtime: pip install 'qrmi-providers[qiskit]'"), error
else:
    raise AssertionError("aer_fez is there")
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command in an environment that knows nothing of the checkout; its output is shown only if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["UV_SYSTEM_CERTS"] = "true"  # uv trusts whom pip trusts
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nfailed with exit code {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def build(directory: Path) -> Path:
    """Build the sdist, and from it the wheel; return the wheel."""
    run(sys.executable, "-m", "build", "--outdir", directory, ROOT, cwd=directory)
    (wheel,) = directory.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    strangers = {top for top in tops - PACKAGES if not top.endswith(".dist-info")}
    if strangers or not tops >= PACKAGES:
        raise SystemExit(f"{wheel.name} holds {sorted(tops)}, but should hold {sorted(PACKAGES)}")
    return wheel


def install(requirement: str, directory: Path, *, prefer_uv: bool) -> None:
    """Make an empty environment and install into it.

    uv takes a tenth of pip's time, but does not read pip's configuration (mirrors, find-links): where it fails, and
    where that configuration matters, pip does it.
    """
    python = directory / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if prefer_uv:
        try:
            run(uv, "venv", "--quiet", "--python", sys.executable, directory, cwd=directory.parent)
            run(uv, "pip", "install", "--quiet", "--python", python, requirement, cwd=directory.parent)
            run(uv, "pip", "check", "--python", python, cwd=directory.parent)
        except SystemExit as failure:
            print(f"uv could not install {requirement}, pip is tried. uv said:\n{failure}")
        else:
            return
    venv.create(directory, with_pip=True, clear=True)
    run(python, "-m", "pip", "install", "--quiet", requirement, cwd=directory.parent)
    run(python, "-m", "pip", "check", cwd=directory.parent)


def check(extra: str, wheel: Path, directory: Path) -> None:
    requirement = str(wheel) if extra == "bare" else f"{wheel}[{extra}]"
    # Of torch there are builds without the gigabytes for GPUs; pip's configuration says where.
    install(requirement, directory, prefer_uv=extra != "emulators")
    server = "aiohttp,msgspec,multidict,yarl"
    qiskit = f"{server},qiskit,qiskit_aer"
    there = {
        "bare": "-",
        "ibm-system": "-",
        "qiskit-qpu": "qiskit",
        **dict.fromkeys(("qiskit", "qiskit-pasqal", "all"), qiskit),
    }
    packages = ["qrmi_core", *sorted(NEEDS.get(extra, ()))]
    run(directory / "bin/python", "-c", SMOKE, there.get(extra, server), *packages, cwd=directory)
    answer = run(directory / "bin/qrmi", "--help", cwd=directory)
    if "Usage: qrmi" not in answer:
        raise SystemExit(f"`qrmi --help` with the extra {extra} answered:\n{answer}")
    check_slurm_files(directory)
    if extra == "qiskit-qpu":
        check_without_simulators(directory)
    if extra in TESTS:
        run_tests(directory, *TESTS[extra])


def check_without_simulators(directory: Path) -> None:
    """Nothing of what makes programs start slowly is there, and who asks for a simulator is told what to install."""
    run(directory / "bin/python", "-c", WITHOUT_SIMULATORS, cwd=directory)
    listed = run(directory / "bin/qrmi", "resources", cwd=directory)
    if "aer_ideal needs qiskit_aer: pip install 'qrmi-providers[qiskit]'" not in listed:
        raise SystemExit(f"`qrmi resources` without simulators answered:\n{listed}")


def check_slurm_files(directory: Path) -> None:
    """`qrmi slurm files` writes what the checkout has for Slurm's hosts: the files are in the wheel."""
    written = directory / "slurm-files"
    run(directory / "bin/qrmi", "slurm", "files", written, cwd=directory)
    for path in written.rglob("*"):
        origin = ROOT / "slurm" / path.relative_to(written)
        if path.is_file() and path.read_bytes() != origin.read_bytes():
            raise SystemExit(f"`qrmi slurm files` wrote {path.name}, which is not {origin}")
    tracked = run("git", "ls-files", "slurm/spank", "slurm/node", "slurm/systemd", "slurm/*.lua", cwd=ROOT).split()
    lacking = [name for name in tracked if not (written / Path(name).relative_to("slurm")).is_file()]
    if lacking:
        raise SystemExit(f"`qrmi slurm files` did not write {', '.join(lacking)}")


def run_tests(directory: Path, further: list[str], tests: list[str]) -> None:
    """Run tests of the checkout on what is installed; pytest is lent by this script's environment."""
    python, outside = directory / "bin" / "python", directory.parent
    run(python, "-m", "pip", "install", "--quiet", *further, cwd=outside)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=outside).strip())
    (own / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pytest: list[str | Path] = ["pytest", "--quiet", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
    print(run(python, "-m", *pytest, *(ROOT / test for test in tests), cwd=outside))


def main() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="+", choices=["bare", *declared])
    extras = parser.parse_args().extras

    # Who stops the checks wants no environments left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="qrmi-distribution-") as name:
        outside = Path(name)
        wheel = build(outside)
        print(f"built {wheel.name}")

        def timed(extra: str) -> float:
            start = time.monotonic()
            check(extra, wheel, outside / extra)
            return time.monotonic() - start

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for extra, seconds in zip(extras, pool.map(timed, extras), strict=True):
                print(f"{extra}: installs, imports, answers ({seconds:.1f} s)")


if __name__ == "__main__":
    main()
