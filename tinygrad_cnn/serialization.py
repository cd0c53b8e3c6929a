"""Checkpoints: arrays in a .npz or .safetensors file, without pickle, written whole or not at all.

A .npz checkpoint is an uncompressed zip archive of .npy members, which `numpy.load` can open too, and of a
manifest (JSON) that says which arrays there must be, of which shape and dtype, and how they nest. Reading
believes nothing that the size of the file does not bear out.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from tinygrad_cnn.errors import CheckpointError, import_extra

__all__ = ["load", "save"]

FORMAT = ["tinygrad_cnn checkpoint", 1]
MANIFEST = "manifest.json"
MAX_MEMBERS = 0xFFFE  # a zip archive counts more of them only by the zip64 extension
MAX_DEPTH = 32  # of nested dicts and lists
DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])

Arrays = dict[str, np.ndarray]
Path = str | os.PathLike[str]


def save(model_or_state_dict: Any, path: Path) -> None:
    """Writes a module's state dict, or a mapping of arrays, to `path` (.npz or .safetensors).

    Atomic: the bytes go to a temporary file in the same directory, which replaces `path` once it is on the
    disk; whatever happens, the old file or the new one is there. Arrays are floats of 16, 32 or 64 bits,
    integers or bools. In a .npz the values may also be numbers, strings, None, and dicts, lists and tuples of
    all these, as in an optimiser's state.

    Raises TypeError for a value that cannot be stored, ValueError for a name or an ending that cannot be
    used, OSError as the disk does.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "net.npz")
    >>> save({"conv1.weight": np.ones((6, 1, 5, 5), np.float32)}, path)
    >>> load(path)["conv1.weight"].shape
    (6, 1, 5, 5)
    """
    state_dict = getattr(model_or_state_dict, "state_dict", None)
    state = state_dict() if callable(state_dict) else model_or_state_dict
    if not isinstance(state, Mapping):
        raise TypeError(f"save: expected a module or a mapping of names to arrays, got {type(state).__name__}")
    ending = _ending("save", path)
    arrays: Arrays = {}
    tree = _encode(state, "", arrays)
    if ending == ".npz":
        write_atomically(path, lambda file: _write_npz(file, arrays, tree))
    elif arrays.keys() == state.keys():
        content = import_extra("safetensors.numpy", "safetensors", "a .safetensors file").save(arrays)
        write_atomically(path, lambda file: file.write(content))
    else:
        raise TypeError("save: a .safetensors file holds named arrays only; save other values as .npz")


def load(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote to `path`: names to arrays, bit for bit, in the machine's byte order.

    Never unpickles. Raises CheckpointError for a file that is truncated, damaged, hostile or of another kind,
    FileNotFoundError where there is none.
    """
    read = {".npz": _read_npz, ".safetensors": _read_safetensors}[_ending("load", path)]
    with open(path, "rb") as file:
        try:
            return read(file)
        except ImportError:
            raise
        except Exception as error:  # zipfile and json raise a dozen kinds on damaged bytes; the user needs one
            raise CheckpointError(path, str(error) or type(error).__name__) from error


def _ending(caller: str, path: Path) -> str:
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".npz", ".safetensors"):
        raise ValueError(f"{caller}: the path must end in .npz or .safetensors, got {os.fspath(path)!r}")
    return ending


# --- writing ----------------------------------------------------------------------------------------------


def _encode(value: Any, name: str, arrays: Arrays, depth: int = 0) -> list[Any]:
    """`value` as a [kind, content] tree for JSON, its arrays moved to `arrays` under dotted names."""
    if depth > MAX_DEPTH:
        raise ValueError(f"save: {name!r} is nested more than {MAX_DEPTH} levels deep")
    if hasattr(value, "__array__"):
        arrays[name] = _storable(np.asarray(value), name, arrays)
        return ["array", name]
    if isinstance(value, Mapping):
        if not all(type(key) in (str, int) for key in value):
            raise TypeError(f"save: the keys of {name or 'the state'!r} must be strings or integers")
        items = [[key, _encode(value[key], _dotted(name, key), arrays, depth + 1)] for key in value]
        return ["dict", items]
    if isinstance(value, list | tuple):
        items = [_encode(item, _dotted(name, i), arrays, depth + 1) for i, item in enumerate(value)]
        return ["list" if isinstance(value, list) else "tuple", items]
    if value is None or isinstance(value, str | bool | int | float):
        return ["value", value]
    raise TypeError(f"save: {name!r} is of type {type(value).__name__}; expected arrays, numbers, strings or None")


def _dotted(name: str, key: str | int) -> str:
    return f"{name}.{key}" if name else str(key)


def _storable(array: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    """`array` in C order and little-endian."""
    if array.dtype.str[1:] not in DTYPES:
        raise TypeError(f"save: {name!r} has dtype {array.dtype}; expected floats, integers or bools")
    if name in arrays or not _is_safe(f"{name}.npy"):
        raise ValueError(f"save: {name!r} cannot name an array: taken, or unsafe as the name of a file")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _write_npz(file: IO[bytes], arrays: Arrays, tree: list[Any]) -> None:
    from tinygrad_cnn import __version__

    if len(arrays) >= MAX_MEMBERS:
        raise ValueError(f"save: {len(arrays)} arrays; a checkpoint holds fewer than {MAX_MEMBERS}")
    described = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    manifest = {"format": FORMAT, "tinygrad_cnn": __version__, "arrays": described, "tree": tree}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # ZipInfo's date is fixed: the same arrays give the same bytes.
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest))
        for name, array in arrays.items():
            big = array.nbytes > 2**30
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=big) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    target = os.path.realpath(path)  # a link stays a link
    directory, name = os.path.split(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "there is no such directory to write into; make it first", directory)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name must reach the disk too
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- reading: whatever is wrong raises, and load says which file ------------------------------------------


def _read_npz(file: IO[bytes]) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        members = _checked_members(archive, size)
        if MANIFEST not in members:
            raise ValueError("no manifest: not written by save; for an archive of NumPy's own use numpy.load")
        manifest = json.loads(archive.read(MANIFEST))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, expected {FORMAT}")
        described = manifest["arrays"]
        expected = {MANIFEST, *(f"{name}.npy" for name in described)}
        if expected != members.keys():
            missing, unexpected = sorted(expected - members.keys()), sorted(members.keys() - expected)
            raise ValueError(f"the manifest is of other members: missing {missing}, unexpected {unexpected}")
        arrays = {name: _read_array(archive, members[f"{name}.npy"], described[name]) for name in described}
    state = _decode(manifest["tree"], arrays)
    if not isinstance(state, dict):
        raise ValueError("the manifest describes no mapping")
    return state


def _check_end(file: IO[bytes], size: int) -> None:
    """Refuses, before zipfile reads its directory, an archive that does not end as `save` ends one."""
    file.seek(max(0, size - 22))
    end = file.read(22)
    if len(end) < 22 or end[:4] != b"PK\5\6" or end[20:] != b"\0\0":
        raise ValueError(f"truncated, or not a .npz file ({size} bytes)")
    (count,) = struct.unpack("<H", end[10:12])
    if count > MAX_MEMBERS:
        raise ValueError(f"more than {MAX_MEMBERS} members")


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    for info in infos:
        if not _is_safe(info.orig_filename):
            raise ValueError(f"unsafe member name {info.orig_filename!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename!r} is compressed; a checkpoint is stored as it is")
    declared = sum(info.file_size for info in infos)
    if declared > size:
        raise ValueError(f"declares {declared} bytes of members in a file of {size}")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError("two members have the same name")
    return members


def _is_safe(name: str) -> bool:
    """Whether a member of this name, unpacked on any system, stays where the archive is unpacked."""
    parts = name.split("/")
    return name.isprintable() and not set(name) & set('\\:*?"<>|') and not {"", ".", ".."} & set(parts)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, described: list[Any]) -> np.ndarray:
    """One member, allocated once its header, the manifest and its size agree."""
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{info.filename!r} is of another .npy version than 1.0")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
        if [dtype.str, [*shape]] != described or fortran_order or dtype.str[1:] not in DTYPES:
            raise ValueError(f"{info.filename!r} holds {dtype.str} {shape}, the manifest says {described}")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            raise ValueError(f"{info.filename!r} declares {dtype.str} {shape} in {info.file_size} bytes")
        content = member.read()  # to its end, where zipfile compares the CRC-32
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _decode(tree: list[Any], arrays: Arrays) -> Any:
    kind, content = tree
    match kind:
        case "array":
            return arrays[content]
        case "value":
            return content
        case "dict":
            return {key: _decode(item, arrays) for key, item in content}
        case "list":
            return [_decode(item, arrays) for item in content]
        case "tuple":
            return tuple(_decode(item, arrays) for item in content)
    raise ValueError(f"the manifest holds a {kind!r}")


def _read_safetensors(file: IO[bytes]) -> dict[str, Any]:
    reader = import_extra("safetensors.numpy", "safetensors", "a .safetensors file")
    return {name: array.copy() for name, array in reader.load(file.read()).items()}  # they share read-only bytes
