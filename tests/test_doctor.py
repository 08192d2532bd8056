"""`fedvoice doctor`: every job has a verdict and what is missing has a way out."""

import json
import shutil
import subprocess
import sys

from fedvoice import doctor
from fedvoice.android_harness.emulation import jvm
from fedvoice.doctor import examine, possible
from fedvoice.doctor_checks import Check, machine_checks


def test_doctor_says_what_works_here():
    done = subprocess.run(
        [sys.executable, "-m", "fedvoice", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["jobs"]["simulate"] == (done.returncode == 0)
    assert done.returncode == 0, "the tests themselves run simulations here"
    for check in report["checks"]:
        assert check["found"]
        assert check["ok"] or check["next_step"].endswith(".")


def test_a_job_works_only_with_all_it_needs():
    checks = [Check("a", "x", True, "x"), Check("a", "y", False, "no"), Check("b", "z", True, "z")]
    assert possible(checks) == {"a": False, "b": True}


def test_what_is_missing_is_named_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(jvm, "_BUILD", tmp_path)
    checks = examine()
    missing = {check.name for check in checks if not check.ok}
    assert {"Java", "javac", "mvn", "gcc", "Kotlin phone", "adb", "aapt2", "tc"} <= missing
    assert all(check.next_step for check in checks if not check.ok)
    assert not possible(checks)[doctor.ANDROID_PHONES]
    assert "the Kotlin phone is not built" in jvm.why_not()


def test_a_small_machine_is_told_what_it_lacks(monkeypatch, tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 500000 kB\n")
    usage = shutil.disk_usage("/")._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    found = {check.name: check for check in machine_checks("job", meminfo)}
    assert not any(found[name].ok for name in ("disk", "memory", "shared memory"))
    assert found["memory"].found == "512 MB available, wanted 3 GB"
    assert "https_proxy set" in found["proxies"].found
    assert "secret" not in found["proxies"].found
