"""Checkpoints: bit-exact, atomic under every fault, and one error for every bad file."""

from __future__ import annotations

import builtins
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cnn as tc
from tinygrad_cnn import serialization
from tinygrad_cnn.errors import CheckpointError

STATE = {
    "conv1.weight": np.arange(2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3),
    "conv1.bias": np.array([0.0, -0.0], np.float32),
    "bn.running_mean": np.linspace(0, 1, 5),
    "bn.num_batches_tracked": np.array(7, np.int64),
}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    native = a.astype(a.dtype.newbyteorder("="))
    return native.dtype == b.dtype and a.shape == b.shape and native.tobytes() == b.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.npz"


@pytest.fixture
def checkpoint(path: Path) -> Path:
    tc.save(STATE, path)
    return path


# --- round trip -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".NPZ"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"net{ending}"
    tc.save(STATE, path)
    loaded = tc.load(path)
    assert loaded.keys() == STATE.keys()
    assert all(same_bits(STATE[name], loaded[name]) for name in STATE)
    assert all(array.flags.writeable and array.flags.owndata for array in loaded.values())
    assert os.listdir(tmp_path) == [path.name]


ANY_ARRAY = st.tuples(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", ">f4", ">f8", ">i4", "i1", "u1", "i8", "u8", "?"]).map(np.dtype),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
).map(lambda drawn: drawn[0].T if drawn[1] else drawn[0])


@given(st.dictionaries(st.text("ab.\N{LATIN SMALL LETTER E WITH ACUTE}_0", min_size=1, max_size=6), ANY_ARRAY))
def test_every_array_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, state: dict) -> None:
    path = tmp_path_factory.mktemp("any") / "net.npz"
    tc.save(state, path)
    loaded = tc.load(path)
    assert list(loaded) == list(state)
    assert all(same_bits(state[name], loaded[name]) for name in state)


def test_nan_payload_and_signed_zero(path: Path) -> None:
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800001], np.uint32)
    tc.save({"x": bits.view(np.float32)}, path)
    assert (tc.load(path)["x"].view(np.uint32) == bits).all()


def test_nested_state_of_an_optimiser_and_a_generator(path: Path) -> None:
    state = {
        "model": STATE,
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": np.ones(3)}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
        },
        "random": np.random.default_rng(5).bit_generator.state,
        "note": None,
        "best": float("inf"),
        "done": False,
    }
    tc.save(state, path)
    loaded = tc.load(path)
    assert loaded["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]
    assert loaded["random"] == state["random"]
    assert (loaded["note"], loaded["best"], loaded["done"]) == (None, float("inf"), False)
    assert (loaded["optimizer"]["state"][0]["exp_avg"] == 1).all()
    assert all(same_bits(STATE[name], loaded["model"][name]) for name in STATE)


def test_a_model_or_its_state_dict(path: Path) -> None:
    model, other = tc.nn.Linear(3, 2), tc.nn.Linear(3, 2)
    tc.save(model, path)
    other.load_state_dict(tc.load(path))
    assert (other.weight.data == model.weight.data).all()
    tc.save(model.state_dict(), path)
    assert tc.load(path).keys() == model.state_dict().keys()


def test_same_state_gives_same_bytes(tmp_path: Path) -> None:
    tc.save(STATE, tmp_path / "a.npz")
    tc.save(STATE, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_opens_the_file(checkpoint: Path) -> None:
    with np.load(checkpoint) as archive:
        assert (archive["conv1.weight"] == STATE["conv1.weight"]).all()


def test_manifest(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["tinygrad_cnn"] == tc.__version__
    assert manifest["arrays"]["conv1.weight"] == ["<f4", [2, 3, 3, 3]]


def test_a_link_stays_a_link(checkpoint: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.npz"
    link.symlink_to(checkpoint)
    tc.save({"x": np.ones(1)}, link)
    assert link.is_symlink()
    assert list(tc.load(checkpoint)) == ["x"]


def test_safetensors_reads_what_the_package_wrote(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file(STATE, tmp_path / "theirs.safetensors")
    tc.save(STATE, tmp_path / "ours.safetensors")
    for loaded in tc.load(tmp_path / "theirs.safetensors"), load_file(tmp_path / "ours.safetensors"):
        assert all(same_bits(STATE[name], loaded[name]) for name in STATE)


# --- what cannot be saved ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/../b", "a\\b", "C:x", "a\0b", "a\nb"])
def test_unsafe_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name an array"):
        tc.save({name: np.ones(1)}, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("state", "error", "match"),
    [
        ({"x": object()}, TypeError, "'x' is of type object"),
        ({"x": np.array([None])}, TypeError, "'x' has dtype object"),
        ({"x": np.ones(2, complex)}, TypeError, "dtype complex128"),
        ({1.5: np.ones(2)}, TypeError, "keys"),
        ({"a": {"b": np.ones(1)}, "a.b": np.ones(1)}, ValueError, "taken"),
        ([np.ones(1)], TypeError, "got list"),
    ],
)
def test_values_that_cannot_be_stored(path: Path, state: object, error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        tc.save(state, path)


def test_endings(tmp_path: Path) -> None:
    for call in (lambda path: tc.save(STATE, path), tc.load):
        with pytest.raises(ValueError, match=r"\.npz or \.safetensors, got .*net\.pt"):
            call(tmp_path / "net.pt")
    with pytest.raises(TypeError, match="named arrays only"):
        tc.save({"epoch": 3}, tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError):
        tc.load(tmp_path / "none.npz")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory to write into; make it first") as caught:
        tc.save(STATE, tmp_path / "runs" / "net.npz")
    assert caught.value.filename == str(tmp_path / "runs")


# --- saving under faults ----------------------------------------------------------------------------------


class Disk:
    """Counts the writes to files opened for writing, and fails at one of them."""

    def __init__(self, fail_at: int | None, error: BaseException | None = None) -> None:
        self.writes, self.fail_at, self.error, self.open = 0, fail_at, error, builtins.open

    def __call__(self, *args, **kwargs):
        file = self.open(*args, **kwargs)
        if "x" not in args[1]:
            return file
        write = file.write

        class Faulty(io.BufferedIOBase):
            def __getattr__(_, name):
                return getattr(file, name)

        faulty = Faulty()
        for name in ("seek", "tell", "flush", "close", "fileno", "seekable", "read"):
            setattr(faulty, name, getattr(file, name))

        def counted(data):
            self.writes += 1
            if self.writes == self.fail_at:
                write(bytes(data)[: len(data) // 2])
                raise self.error
            return write(data)

        faulty.write = counted
        return faulty


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_at_any_write_leaves_the_old_file(checkpoint: Path, monkeypatch, error: BaseException) -> None:
    old = checkpoint.read_bytes()
    new = {"other": np.ones(3), "more": np.zeros((4, 4))}
    counter = Disk(None)
    monkeypatch.setattr(builtins, "open", counter)
    tc.save(new, checkpoint.with_name("counted.npz"))
    monkeypatch.undo()
    checkpoint.with_name("counted.npz").unlink()
    assert counter.writes > 5
    for fail_at in range(1, counter.writes + 1):
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", Disk(fail_at, error))
            with pytest.raises(type(error)):
                tc.save(new, checkpoint)
        assert checkpoint.read_bytes() == old
        assert os.listdir(checkpoint.parent) == [checkpoint.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_fault_at_the_last_steps_leaves_the_old_file(checkpoint: Path, monkeypatch, call: str) -> None:
    old = checkpoint.read_bytes()

    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            tc.save({"x": np.ones(2)}, checkpoint)
    assert checkpoint.read_bytes() == old
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def test_kill_while_saving_leaves_a_whole_file(checkpoint: Path) -> None:
    program = (
        "import sys, numpy as np, tinygrad_cnn as tc\n"
        "print('ready', flush=True)\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1; tc.save({'n': np.full(200_000, n)}, sys.argv[1])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(checkpoint)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        old = checkpoint.read_bytes()
        while checkpoint.read_bytes() == old:
            assert child.poll() is None
        child.kill()
    n = tc.load(checkpoint)["n"]
    assert n.shape == (200_000,)
    assert (n == n[0]).all()


# --- loading bad files ------------------------------------------------------------------------------------


def test_truncation_at_every_byte(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for length in range(len(whole)):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"net\.npz: "):
            tc.load(checkpoint)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_a_flipped_bit_never_gives_wrong_names_or_shapes(tmp_path: Path, ending: str) -> None:
    """In .npz no wrong value either: each member carries a CRC-32. A .safetensors file has no checksum."""
    path = tmp_path / f"net{ending}"
    tc.save(STATE, path)
    whole = path.read_bytes()
    caught = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = tc.load(path)
        except CheckpointError:
            caught += 1
            continue
        if ending == ".npz":
            assert loaded.keys() == STATE.keys()
            assert all(same_bits(STATE[name], loaded[name]) for name in STATE)
    assert caught > len(whole) // (2 if ending == ".npz" else 10)


def write_archive(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


def npy(header: str, content: bytes = b"") -> bytes:
    padded = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + content


def manifest(arrays: dict, tree: list | None = None) -> tuple[str, bytes]:
    tree = tree or ["dict", [[name, ["array", name]] for name in arrays]]
    return "manifest.json", json.dumps({"format": serialization.FORMAT, "arrays": arrays, "tree": tree}).encode()


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
HUGE = npy(HEADER.format("<f4", "(1000000000000,)"))
OBJECT = npy(HEADER.format("|O", "(1,)"), b"\x80\x04N.")
ONE = npy(HEADER.format("<f4", "(1,)"), b"\0\0\0\0")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("x.npy", ONE)], "no manifest"),
        ([manifest({"x": ["<f4", [10**12]]}), ("x.npy", HUGE)], "declares <f4"),
        ([manifest({"x": ["<f4", [-1]]}), ("x.npy", npy(HEADER.format("<f4", "(-1,)")))], "declares"),
        ([manifest({"x": ["|O", [1]]}), ("x.npy", OBJECT)], r"holds \|O"),
        ([manifest({"x": ["<f4", [2]]}), ("x.npy", ONE)], "the manifest says"),
        ([manifest({"x": ["<f4", [1]]}), ("x.npy", b"PK" + ONE)], "magic"),
        ([manifest({"x": ["<f4", [1]]}), ("x.npy", ONE + b"more")], "declares"),
        ([manifest({"x": ["<f4", [1]]})], r"missing \['x.npy'\]"),
        ([manifest({}), ("x.npy", ONE)], r"unexpected \['x.npy'\]"),
        ([manifest({"../x": ["<f4", [1]]}), ("../x.npy", ONE)], "unsafe member name"),
        ([manifest({"x": ["<f4", [1]]}), ("/x.npy", ONE)], "unsafe member name"),
        ([manifest({"x": ["<f4", [1]]}, ["call", "os.system"])], "missing"),
        ([manifest({}, ["call", "os.system"])], "holds a 'call'"),
        ([manifest({}, ["list", []])], "no mapping"),
        ([("manifest.json", b"[" * 100_000)], "recursion|Recursion"),
        ([("manifest.json", b'{"format": ["tinygrad_cnn checkpoint", 99]}')], "99"),
        ([("manifest.json", b"\xff\xfe")], "."),
    ],
)
def test_hostile_archives(path: Path, members: list, reason: str) -> None:
    write_archive(path, members)
    with pytest.raises(CheckpointError, match=reason) as caught:
        tc.load(path)
    assert caught.value.path == str(path)
    assert "pickle" not in str(caught.value)


def test_zip_bomb(path: Path) -> None:
    write_archive(path, [manifest({"x": ["<f4", [1]]}), ("x.npy", b"\0" * 10**6)], zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        tc.load(path)


def test_members_that_overlap(checkpoint: Path) -> None:
    """The directory may name the same bytes many times: the declared sizes then exceed the file's."""
    whole = checkpoint.read_bytes()
    size, start = struct.unpack("<II", whole[-10:-2])
    directory = whole[start : start + size]
    end = bytearray(whole[start + size :])
    end[8:12] = struct.pack("<HH", 5 * 50, 5 * 50)
    end[12:16] = struct.pack("<I", 50 * size)
    checkpoint.write_bytes(whole[:start] + directory * 50 + bytes(end))
    with pytest.raises(CheckpointError, match=r"declares \d+ bytes of members"):
        tc.load(checkpoint)


def test_a_million_members_are_refused_before_the_directory_is_read(path: Path, monkeypatch) -> None:
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(b"\0" * 1000 + end)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(CheckpointError, match="more than 65534 members"):
        tc.load(path)


def test_two_members_of_one_name(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        write_archive(path, [manifest({"x": ["<f4", [1]]}), ("x.npy", ONE), ("x.npy", ONE)])
    with pytest.raises(CheckpointError, match="same name"):
        tc.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04N.", b"PK", np.arange(9).tobytes(), b"PK\5\6" + b"\0" * 18],
    ids=["empty", "pickle", "two bytes", "numbers", "empty archive"],
)
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_other_files(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"net{ending}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net"):
        tc.load(path)


@pytest.mark.parametrize(
    "offsets",
    [[[0, 8], [4, 12]], [[0, 8], [12, 20]], [[0, 8], [8, 2**40]]],
    ids=["overlap", "gap", "oversize"],
)
def test_hostile_safetensors(tmp_path: Path, offsets: list) -> None:
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": o} for name, o in zip("ab", offsets, strict=True)}
    text = json.dumps(header).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 20)
    with pytest.raises(CheckpointError):
        tc.load(path)


def test_without_the_safetensors_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_cnn\[safetensors\]"'):
        tc.save(STATE, tmp_path / "net.safetensors")
