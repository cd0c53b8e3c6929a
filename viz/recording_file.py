"""The file of a recorded run: JSON with a version, a length and a checksum, so that no damaged one is half read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from viz.describing import named_parameters
from viz.recording_run import Run
from viz.trace import Trace, as_plain, from_plain

FORMAT = "tinygrad_cnn.viz.run"
VERSION = 1


def is_run(text: str) -> bool:
    """Whether a text claims to be a run, whole or not."""
    return FORMAT in text[:200]


def opened(text: str) -> Run | Trace:
    """What a file of this package holds: a recorded run, or one computation."""
    return decoded(text) if is_run(text) else Trace.from_json(text)


def encoded(run: Run) -> str:
    """A run as one JSON object: what it is, how long, its checksum, and the run as the last entry."""
    body = json.dumps(as_plain(run), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    head = {"format": FORMAT, "version": VERSION, "model": run.fingerprint(), "length": len(body),
            "sha256": hashlib.sha256(body.encode()).hexdigest()}  # fmt: skip
    return f'{json.dumps(head)[:-1]}, "run": {body}}}\n'


def decoded(text: str, model: Any = None) -> Run:
    """The run in a text; with a model, only if it is a run of that model."""
    head, start = _head(text)
    body = text[start:].rstrip()[:-1]
    length = head.get("length")
    if not isinstance(length, int) or len(body) != length:
        raise ValueError(
            f"viz run: the file is cut off or was changed: it holds {max(len(body), 0):,} of {length:,} characters"
            if isinstance(length, int)
            else "viz run: the file is damaged: it does not say how long it is"
        )
    if hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest() != head.get("sha256"):
        raise ValueError("viz run: the file was changed after it was written: its checksum does not fit")
    try:
        run = from_plain(Run, json.loads(body))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"viz run: the file is damaged: {error}") from error
    if model is not None:
        _check_model(run, model)
    return run


def _head(text: str) -> tuple[dict[str, Any], int]:
    """What stands before the run, and where the run begins."""
    mark = '"run": '
    at = text.find(mark)
    if not is_run(text):
        raise ValueError(f"viz run: not a recorded run; expected an object whose 'format' is {FORMAT!r}")
    try:
        head = json.loads(text[:at].rstrip().rstrip(",") + "}") if at >= 0 else None
    except ValueError:
        head = None
    if head is None:
        raise ValueError("viz run: the file is cut off: it ends before the run begins")
    if head.get("version") != VERSION:
        raise ValueError(f"viz run: version {head.get('version')!r} is not {VERSION}, which this viz reads")
    return head, at + len(mark)


def _check_model(run: Run, model: Any) -> None:
    mine = {name: list(parameter.shape) for parameter, name in named_parameters(model).values()}
    theirs = {p.name: list(p.shape) for p in run.trace.parameters if p.name in mine or p.reached}
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            words = [f"{shape}" if shape is not None else "missing" for shape in (theirs.get(name), mine.get(name))]
            raise ValueError(
                f"viz run: recorded from another model ({run.trace.title}): parameter {name!r} is {words[0]} in the "
                f"file and {words[1]} in this {type(model).__name__}"
            )
