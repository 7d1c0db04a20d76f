"""The ``slimpose`` command: runs a subcommand and turns errors into one line and an exit code.

Exit code 2 is invalid input, 1 any other failure.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import tyro
from rich.console import Console

from slimpose.cli.output_paths import redirect_closed_stdout
from slimpose.media.addresses import redacted
from slimpose.messages import DataWarning, printable

COMMANDS = {
    "predict": "find all people in images and videos; draw and write their poses",
    "live": "track people in cameras and streams, several at once",
    "evaluate": "measure a model's accuracy on a COCO file",
    "models": "list the shipped models",
    "doctor": "show this machine's hardware and the available backends, and which is fastest",
    "benchmark": "measure speed: single models, the pipeline end to end, other projects' models",
    "plan": "find settings for a number of people, cameras and frames per second",
    "compare": "compare pose estimation systems: cost, time, accuracy measured and published",
    "cost": "parameters, multiply-adds and the paper's tool number of a network",
    "train": "train a pose network or a person detector",
    "paper": "compare the paper's tables with the results of finished runs",
    "import-trunk": "initialize training from a published graph",
    "import-weights": "convert a published checkpoint of a baseline network to weights",
    "prune": "make a smaller network from a trained one, for further training",
    "average": "average the weights of several training runs of one network",
    "lint": "show which layers of a model a hardware target or runtime supports, and why not",
    "fit": "find a network that a hardware target supports, near a number of multiply-adds",
    "export": "convert weights for a runtime: ONNX, OpenVINO, LiteRT, NCNN, TensorRT",
    "quantize": "make an INT8 or FP16 model that keeps an accuracy budget",
    "verify": "measure how much the outputs of two models differ on the same people",
}

EXTRAS = {"pycocotools": "eval", "supervision": "supervision", "matplotlib": "plot"}
"""The extra of the package that installs a module; ``BackendSpec.extras`` has more."""

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``slimpose COMMAND ...`` and exit; ``arguments`` default to those of the process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _data_warnings_as_lines():
            code = _run(arguments)
        sys.stdout.flush()
    except BAD_INPUT as error:
        _fail(str(error), code=2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("slimpose"):
            raise
        extra = _extra_of((error.name or "").partition(".")[0])
        _fail(
            f"slimpose {arguments[0]} needs {error.name}, which is not installed: "
            f"pip install 'slimpose[{extra}]'",
            code=1,
        )
    except BrokenPipeError:  # the reader (head, less) has gone: there is no one to report to
        redirect_closed_stdout()
        code = 1
    except (RuntimeError, OSError, FloatingPointError) as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        _fail("interrupted", code=130)
    raise SystemExit(code)


def _run(arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        import slimpose

        print(f"slimpose {slimpose.__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        raise ValueError(
            f"unknown command {redacted(arguments[0])!r}; expected one of {', '.join(COMMANDS)}"
        )
    name = arguments[0].replace("-", "_")
    command = getattr(importlib.import_module(f"slimpose.cli.{name}"), name)
    try:
        return tyro.cli(command, args=arguments[1:], prog=f"slimpose {arguments[0]}") or 0
    except SystemExit as exit_request:  # tyro has printed the help, or what is wrong with an option
        return exit_request.code if isinstance(exit_request.code, int) else 0


def _extra_of(module: str) -> str:
    """Return the extra of the package that installs a third-party module."""
    try:
        from slimpose.runtime.backends.available import SPECS
    except ModuleNotFoundError:  # ONNX Runtime itself
        return "train"
    extras = dict(EXTRAS)
    for spec in SPECS.values():
        extras.update(spec.extras)
    return extras.get(module, "train")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {command:<{width}}  {summary}" for command, summary in COMMANDS.items()]
    head = "usage: slimpose COMMAND [options]    (slimpose COMMAND --help lists the options)"
    return "\n".join([head, "", *lines])


@contextmanager
def _data_warnings_as_lines() -> Iterator[None]:
    """Print each DataWarning once, as one line; other warnings as before."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, DataWarning):
            _print_line(f"warning: {message}")
        else:
            before(message, category, *place, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("default", DataWarning)
        warnings.showwarning = show
        yield


def _print_line(message: str) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(f"slimpose: {printable(message)}")


def _fail(message: str, *, code: int) -> NoReturn:
    _print_line(message)
    raise SystemExit(code)
