"""The doctor: what it finds here is true, and what it advises is what limits."""

import json
import os
import subprocess
import sys

import pytest

from tinygrad_cnn.doctor import Examination, advise, examine

AVX512, AVX2 = frozenset({"avx512f", "avx2", "fma"}), frozenset({"avx2", "fma"})


def healthy(**changes):
    return Examination(
        **{
            "cores": 2,
            "blas": "openblas 0.3",
            "core_type": "SkylakeX",
            "threads": 2,
            "gflops": 400.0,
            "graphviz": ["dot 14"],
        }
        | changes
    )


def test_nothing_is_wrong_with_a_healthy_machine():
    assert advise(healthy(gflops_of_the_processor=500.0), AVX512) == []
    assert "Nothing limits this machine" in str(healthy())


@pytest.mark.parametrize(
    ("changes", "flags", "what", "remedy"),
    [
        (
            {"core_type": "Haswell", "settings": {"OPENBLAS_CORETYPE": "Haswell"}},
            AVX512,
            "OPENBLAS_CORETYPE=Haswell",
            "unset",
        ),
        ({"core_type": "Haswell"}, AVX512, "code for Haswell", "pip install --upgrade numpy"),
        ({"core_type": "Prescott"}, AVX2, "code for Prescott", "upgrade"),
        ({"threads": 1, "settings": {"OMP_NUM_THREADS": "1"}}, AVX512, "2 cores to 1", "unset OMP_NUM_THREADS"),
        (
            {"gflops": 200.0, "gflops_without_settings": 400.0, "settings": {"OPENBLAS_L2_SIZE": "64"}},
            AVX512,
            "2.0 times as fast",
            "unset OPENBLAS_L2_SIZE",
        ),
        ({"gflops": 100.0, "gflops_of_the_processor": 400.0}, AVX512, "25% of what", "other programs"),
        ({"settings": {"TINYGRAD_CNN_MALLOC": "0"}}, AVX512, "memory of large results", "unset TINYGRAD_CNN_MALLOC"),
        ({"blas": ""}, AVX512, "no BLAS", "pip install"),
        ({"graphviz": []}, AVX512, "no engine", "tinygrad_cnn[viz]"),
    ],
)
def test_what_limits_is_named_with_its_remedy(changes, flags, what, remedy):
    (advice,) = advise(healthy(**changes), flags)
    assert what in advice.what
    assert remedy in advice.remedy
    assert advice.remedy in str(healthy(**changes, advice=[advice]))


def test_a_core_type_that_fits_is_no_fault():
    assert advise(healthy(core_type="Haswell"), AVX2) == []
    assert advise(healthy(core_type="neoversen1"), frozenset({"asimd"})) == []


def test_the_machine_it_runs_on(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    found = examine()
    assert found.gflops > 0
    assert found.gflops_without_settings > 0
    assert found.threads == 1
    assert found.cores >= 1
    assert json.loads(found.to_json())["settings"]["OPENBLAS_NUM_THREADS"] == "1"


def test_the_command_prints_json():
    command = [sys.executable, "-m", "tinygrad_cnn", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["blas"]
