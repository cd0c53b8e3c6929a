"""The command line: `tinygrad-cnn COMMAND`, also `python -m tinygrad_cnn COMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cnn as tc
from tinygrad_cnn.errors import CheckpointError

# The networks by name, each with the input it was made for: channels, height, width.
MODELS = {
    "lenet5": (1, 28, 28),
    "vgg_small": (3, 32, 32),
    "convnet_preview": (3, 32, 32),
    "resnet8": (3, 32, 32),
    "resnet20": (3, 32, 32),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 1 where a check failed, or 2 for a mistake in what was asked."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_the_users(error):
            raise
        print(f"tinygrad-cnn {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _is_the_users(error: RuntimeError) -> bool:
    from viz import EngineNotFound

    return isinstance(error, CheckpointError | EngineNotFound)


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="tinygrad-cnn",
        description="An autograd engine for convolutional networks in NumPy, with pictures of the gradient.",
        epilog="Start with: tinygrad-cnn demo. Each command explains itself: tinygrad-cnn COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-cnn {tc.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = _command(
        commands,
        run_demo,
        "train LeNet-5 on handwritten digits and draw where its gradient flows",
        "demo",
        "demo --epochs 5 --out runs/demo5",
    )
    demo.add_argument("--epochs", type=_count, default=40, help="passes over the training digits (default: 40)")
    demo.add_argument("--seed", type=int, default=0, help="of weights, order and shifts (default: 0)")
    demo.add_argument("--out", default="runs/demo", help="where to write (default: runs/demo)")

    train = _command(
        commands,
        run_train,
        "train a network, and write its weights, curves and gradient flow",
        "train --data digits --model lenet5",
        "train --data cifar10 --root data --model resnet8 --optimizer sgd --lr 0.1 --out runs/cifar",
        "train --data digits --model lenet5 --out runs/digits --resume",
    )
    _add_training(train)

    summary = _command(
        commands,
        run_summary,
        "list a network's layers: shapes, parameters, multiply-accumulates, memory",
        "summary --model resnet20",
        "summary --model vgg_small --input 3,64,64",
    )
    _add_model(summary)

    graph = _command(
        commands,
        run_graph,
        "draw a network's forward and backward pass on random images",
        "graph --model vgg_small -o vgg.svg",
        "graph --model lenet5 --level op --theme dark -o lenet5.png",
        "graph --model lenet5 --weights runs/demo/lenet5.npz -o trained.html",
    )
    _add_model(graph)
    graph.add_argument("-o", "--out", required=True, help="the file; .svg .html .png .pdf .dot .json or .txt")
    _add_look(graph)
    graph.add_argument("--batch", type=_count, default=16, help="images in the batch (default: 16)")
    graph.add_argument("--weights", help="a checkpoint of this network, .npz or .safetensors (default: a new start)")
    graph.add_argument("--seed", type=int, default=0, help="of weights and images (default: 0)")

    export = _command(
        commands,
        run_export,
        "write a trained network as ONNX, for other runtimes",
        "export runs/digits/model.npz -o digits.onnx",
    )
    export.add_argument("checkpoint", help="weights or a training run, .npz or .safetensors")
    export.add_argument("-o", "--out", required=True, help="the .onnx file")
    export.add_argument("--model", choices=MODELS, help="the network (default: the one that the weights fit)")
    export.add_argument("--input", type=_shape, metavar="C,H,W", help="of one image (default: the network's)")

    pictures = _command(
        commands,
        run_viz,
        "draw, judge or compare computations and recorded runs saved as .json",
        "viz run.json -o train.html                     a recorded run: the film",
        "viz run.json --step 200 -o step.svg            one of its steps",
        "viz report run.json --strict --allow frozen",
        "viz diff before.json after.json -o change.svg",
    )
    pictures.add_argument(
        "words", metavar="FILE | report FILE | diff FILE FILE", nargs="+", help=".json of a figure or a run"
    )
    pictures.add_argument("-o", "--out", help="the picture to write; .svg .html .png .pdf .dot .json or .txt")
    pictures.add_argument(
        "--step", type=int, help="of a recorded run, the step to draw (default: the film, or the last)"
    )
    pictures.add_argument("--strict", action="store_true", help="report: status 1 if anything is wrong or not judged")
    pictures.add_argument("--allow", action="append", default=[], metavar="KIND", help="a kind that --strict lets pass")
    _add_look(pictures)

    doctor = _command(
        commands,
        run_doctor,
        "say what limits the speed and the pictures here, and what to set",
        "doctor",
        "doctor --json",
    )
    doctor.add_argument("--json", action="store_true", help="for a program to read")

    bench = _command(
        commands,
        run_bench,
        "time training steps and operations next to other libraries, from a checkout of the sources",
        "bench --quick",
        "bench steps operations",
    )
    bench.add_argument("measures", metavar="MEASURE", nargs="*", help="which to take (default: all)")
    bench.add_argument("--quick", action="store_true", help="end within five minutes")

    gradcheck = _command(
        commands,
        run_gradcheck,
        "hold operations to the laws of differentiation",
        "gradcheck                      every operation",
        "gradcheck conv2d max_pool2d    these",
    )
    gradcheck.add_argument("ops", metavar="OP", nargs="*", help="names of operations (default: all)")
    gradcheck.add_argument("--profile", choices=("fast", "ci", "nightly"), default="fast", help="how long to look")
    gradcheck.add_argument("--seed", type=int, default=0, help="of the first drawn case (default: 0)")
    return parser


def _command(
    commands: Any, run: Callable[[argparse.Namespace], int], help: str, *examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        run.__name__.removeprefix("run_"),
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog="\n".join(["examples:", *(f"  tinygrad-cnn {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=MODELS, required=True, help="the network")
    parser.add_argument(
        "--input", type=_shape, metavar="C,H,W", help="channels, height, width (default: what the network was made for)"
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    from tinygrad_cnn.training_run import DATA, OPTIMIZERS, Recipe

    recipe = Recipe()
    parser.add_argument("--data", choices=DATA, required=True, help="the images; digits come with scikit-learn")
    parser.add_argument("--root", default="data", help="the folder that holds the other data sets (default: data)")
    parser.add_argument("--model", choices=MODELS, required=True, help="the network")
    parser.add_argument("--epochs", type=_count, default=recipe.epochs, help="passes over the data (default: 40)")
    parser.add_argument("--batch-size", type=_count, default=recipe.batch_size, help="images a step (default: 64)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default=recipe.optimizer, help="(default: adam)")
    parser.add_argument("--lr", type=float, default=recipe.lr, help="the learning rate at the start (default: 0.004)")
    parser.add_argument("--shift", type=int, default=recipe.shift, help="pixels to move images by (default: 2)")
    parser.add_argument("--seed", type=int, default=recipe.seed, help="of weights, order and shifts (default: 0)")
    parser.add_argument("--out", help="the folder to write to (default: runs/DATA)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument("--record", action="store_true", help="make a film of the gradient while it learns")


def _add_look(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--level", choices=("auto", "module", "op"), default="auto", help="modules, or single operations"
    )
    parser.add_argument("--theme", choices=("light", "dark", "auto"), default="light", help="colours (default: light)")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"expected channels,height,width such as 3,32,32, got {text!r}")
    return tuple(int(size) for size in sizes)


# --- commands ---------------------------------------------------------------------------------------------


def run_demo(options: argparse.Namespace) -> int:
    from tinygrad_cnn import demo

    demo.run(options.out, epochs=options.epochs, seed=options.seed)
    return 0


def run_train(options: argparse.Namespace) -> int:
    from tinygrad_cnn import training_run

    tc.manual_seed(options.seed)
    channels, size, _ = MODELS[options.model]
    load = training_run.DATA[options.data]
    train_set, test_set = (load(options.root, split, size) for split in ("train", "test"))
    shape = train_set.tensors[0].shape[1:]
    if shape[1:] != (size, size) or (shape[0] != channels and options.model != "lenet5"):
        raise ValueError(
            f"{options.model} takes images of {channels} x {size} x {size}, {options.data} has "
            f"{' x '.join(map(str, shape))}; take lenet5 for 28 x 28, the others for 3 x 32 x 32"
        )
    names = ("epochs", "batch_size", "optimizer", "lr", "shift", "seed")
    recipe = training_run.Recipe(**{name: getattr(options, name) for name in names})
    model = _build(options.model, shape[0])
    out = options.out or f"runs/{options.data}"
    training_run.run(model, train_set, test_set, out, recipe, resume=options.resume, record=options.record)
    return 0


def run_export(options: argparse.Namespace) -> int:
    state = tc.load(options.checkpoint)
    state = state.get("model", state)  # of a training run
    names = [options.model] if options.model else list(MODELS)
    for name in names:
        channels, *size = MODELS[name]
        if name == "lenet5" and np.ndim(state.get("conv1.weight")) == 4:
            channels = np.shape(state["conv1.weight"])[1]
        model = _build(name, channels)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            if options.model:
                raise ValueError(f"{options.checkpoint}: {error}") from error
            continue
        shape = options.input or (channels, *size)
        tc.onnx.export(model, shape, options.out)
        print(f"wrote {options.out}: {name}, input N x {' x '.join(map(str, shape))}")
        return 0
    raise ValueError(
        f"{options.checkpoint}: the weights fit none of {', '.join(MODELS)}; for a network of your own "
        "use tc.onnx.export"
    )


def run_summary(options: argparse.Namespace) -> int:
    print(tc.summary(_model(options), _input(options)))
    return 0


def run_graph(options: argparse.Namespace) -> int:
    import tinygrad_cnn.functional as F
    import viz

    tc.manual_seed(options.seed)
    model = _model(options)
    if options.weights:
        model.load_state_dict(tc.load(options.weights))
    images = tc.randn(options.batch, *_input(options))
    labels = np.arange(options.batch) % 10
    with viz.capture(model, title=options.model) as capture:
        F.cross_entropy(model(images), labels).backward()
    figure = capture.figure(level=options.level, theme=options.theme)
    print(f"wrote {figure.save(options.out)}")
    print(figure.report())
    return 0


def run_viz(options: argparse.Namespace) -> int:
    import viz

    what, *files = options.words
    if what not in ("report", "diff"):
        what, files = "draw", options.words
    if len(files) != (2 if what == "diff" else 1):
        wanted = {"report": "viz report FILE", "diff": "viz diff FILE FILE -o OUT", "draw": "viz FILE -o OUT"}
        raise ValueError(f"expected `{wanted[what]}`, got {' '.join(options.words)!r}")
    if what != "report" and not options.out:
        raise ValueError("name the picture to write: -o net.svg")
    seen = [_read_picture(file) for file in files]
    if what == "report":
        report = seen[0].report() if isinstance(seen[0], viz.Run) else viz.Figure(seen[0]).report()
        print(report)
        return int(options.strict and not viz.passes(report, options.allow))
    first = seen[0]
    if what == "draw" and isinstance(first, viz.Run) and options.step is None and options.out.lower().endswith(".html"):
        print(f"wrote {first.movie(options.out, theme=options.theme)}")
        return 0
    figures = [_figure(each, options) for each in seen]
    picture = viz.diff(*figures, names=(Path(files[0]).stem, Path(files[1]).stem)) if what == "diff" else figures[0]
    print(f"wrote {picture.save(options.out)}")
    return 0


def _read_picture(file: str) -> Any:
    """The recorded run or the computation in a file."""
    from viz.recording_file import opened

    try:
        return opened(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _figure(seen: Any, options: argparse.Namespace) -> Any:
    import viz

    if isinstance(seen, viz.Run):
        return seen.figure(options.step, level=options.level, theme=options.theme)
    if options.step is not None:
        raise ValueError("--step is for recorded runs; this file holds one step")
    return viz.Figure(seen, viz.Options(level=options.level, theme=options.theme))


def run_doctor(options: argparse.Namespace) -> int:
    from tinygrad_cnn import doctor

    found = doctor.examine()
    print(found.to_json() if options.json else found)
    return 0


def run_bench(options: argparse.Namespace) -> int:
    import subprocess

    sources = Path(tc.__file__).parents[1]
    if not (sources / "benchmarks" / "__main__.py").exists():
        raise ValueError("the benchmarks come with the sources, not with the package: in a checkout, run `make bench`")
    quick = ["--quick"] if options.quick else []
    return subprocess.run([sys.executable, "-m", "benchmarks", *options.measures, *quick], cwd=sources).returncode


def run_gradcheck(options: argparse.Namespace) -> int:
    from tinygrad_cnn.testing.__main__ import main as check

    return check([*options.ops, "--profile", options.profile, "--seed", str(options.seed)])


def _input(options: argparse.Namespace) -> tuple[int, ...]:
    return options.input or MODELS[options.model]


def _model(options: argparse.Namespace) -> tc.nn.Module:
    return _build(options.model, _input(options)[0])


def _build(name: str, channels: int) -> tc.nn.Module:
    build = getattr(tc.models, name)
    return build(in_channels=channels) if name == "lenet5" else build()
