"""The ``slimpose`` command: runs a subcommand and turns errors into one line and an exit code.

Exit code 2 is invalid input, 1 any other failure.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from slimpose.cli.arguments import run
from slimpose.cli.renamed_options import with_new_names
from slimpose.cli.standard_streams import forgiving_streams
from slimpose.messages import DataWarning, printable, quoted, redacted, short_name
from slimpose.runtime.installation import install_extra, missing_base_module

COMMANDS = {
    "predict": "find all people in images and videos; draw and write their poses",
    "live": "track people in cameras and streams, several at once",
    "motion": "clean a person's keypoints over time; write angles, TRC, C3D, MOT, CSV",
    "serve": "show cameras on a web page; return poses of images sent by HTTP",
    "bulk": "find all people in an archive, on many workers; write Parquet files",
    "join": "write the poses of one source of bulk as CSV or COCO JSON",
    "evaluate": "measure a model's accuracy on a COCO file",
    "models": "list the shipped models",
    "doctor": "show this machine's hardware and the available backends, and which is fastest",
    "benchmark": "measure speed: single models, the pipeline end to end, other projects' models",
    "plan": "find settings for a number of people, cameras and frames per second",
    "compare": "compare pose estimation systems: cost, time, accuracy measured and published",
    "cost": "parameters, multiply-adds and the paper's tool number of a network",
    "new-project": "write a folder to start with your own keypoints: recipe, skeleton, commands",
    "convert": "convert labels: COCO, YOLO-pose, SLEAP, DeepLabCut",
    "check": "find faults and suspicious labels before training, on a page with images",
    "label": "propose labels with a model for CVAT and FiftyOne, hardest images first",
    "train": "train a pose network or a person detector",
    "paper": "compare the paper's tables with the results of finished runs",
    "import-trunk": "initialize training from a published graph",
    "import-weights": "convert a published checkpoint of a baseline network to weights",
    "prune": "make a smaller network from a trained one, for further training",
    "average": "average the weights of several training runs of one network",
    "lint": "show which layers of a model a hardware target or runtime supports, and why not",
    "fit": "find a network that a hardware target supports, near a number of multiply-adds",
    "export": "convert weights for a runtime (ONNX, OpenVINO, LiteRT, NCNN, TensorRT) or a browser",
    "adopt": "write a file of slimpose from a pose model of another project",
    "quantize": "make an INT8 or FP16 model that keeps an accuracy budget",
    "verify": "measure how much the outputs of two models differ on the same people",
}

EXTRAS = {
    "pycocotools": "eval",
    "supervision": "supervision",
    "matplotlib": "plot",
    "pillow_heif": "heic",
    **dict.fromkeys(("sleap_io", "yaml", "h5py", "pandas", "tables"), "labels"),
    **{name: name for name in ("tensorboard", "wandb", "mlflow")},
    **dict.fromkeys(("starlette", "uvicorn", "websockets"), "serve"),
    "paho": "mqtt",
    **dict.fromkeys(("scipy", "ezc3d"), "motion"),
    **dict.fromkeys(("ray", "pyarrow", "fsspec"), "bulk"),
    **dict.fromkeys(
        ("torch", "torchvision", "timm", "accelerate", "safetensors", "onnx", "onnxscript"), "train"
    ),
}
"""The extra of slimpose that installs a module; ``BackendSpec.extras`` has more."""

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

_STREAM_END_S = 1.0
"""How long to wait for the threads of streams that are inside OpenCV."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``slimpose COMMAND ...`` and exit; ``arguments`` default to those of the process."""
    with forgiving_streams() as output:
        with _warnings_as_lines():
            code = _exit_code(list(sys.argv[1:] if arguments is None else arguments))
        output.flush()
        if output.error is not None and not isinstance(output.error, BrokenPipeError):
            reason = output.error.strerror or output.error
            _report(f"standard output cannot be written ({reason}); the files are complete")
        code = code or int(output.error is not None)
    _leave_hanging_streams(code)
    raise SystemExit(code)


def _exit_code(arguments: Sequence[str]) -> int:
    """Run a command line; report what fails; return the exit code."""
    try:
        return _run(arguments)
    except BAD_INPUT as error:
        return _report(_plain(error), code=2)
    except ImportError as error:
        if (error.name or "slimpose").startswith("slimpose"):
            raise
        return _report(_describe_import_error(arguments[0], error))
    except AttributeError as error:  # a package whose files are gone, but for its folder
        broken = getattr(error.obj, "__name__", "") if _is_empty_module(error.obj) else ""
        if message := missing_base_module(broken, "it is empty"):
            return _report(message)
        raise
    except (RuntimeError, OSError, FloatingPointError) as error:
        is_bad_name = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        return _report(_plain(error), code=2 if is_bad_name else 1)
    except KeyboardInterrupt:
        return _report("interrupted", code=130)


def _plain(error: Exception) -> str:
    """What an error says: of one of the system its file and reason, without Python's number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{short_name(os.fsdecode(error.filename))}: {error.strerror}"
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{quoted(error.object)} cannot be written as {error.encoding}; expected names in "
            "UTF-8 (rename the file?)"
        )
    return str(error)


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
            f"unknown command {quoted(redacted(arguments[0]))}; expected one of "
            f"{', '.join(COMMANDS)}"
        )
    name = arguments[0].replace("-", "_")
    command = getattr(importlib.import_module(f"slimpose.cli.{name}"), name)
    options = with_new_names(arguments[0], arguments[1:])
    return run(command, options, prog=f"slimpose {arguments[0]}")


def _describe_import_error(command: str, error: ImportError) -> str:
    module = (error.name or "").partition(".")[0]
    if message := missing_base_module(module, str(error).partition("\n")[0]):
        return message
    if not isinstance(error, ModuleNotFoundError):
        return f"{module} cannot be imported: {error}"
    extra = _extra_of(module)
    how = install_extra(extra) if extra else f"pip install {module}"
    return f"{command} needs {error.name}, which is not installed: {how}"


def _is_empty_module(candidate: object) -> bool:
    return isinstance(candidate, ModuleType) and getattr(candidate, "__file__", None) is None


def _extra_of(module: str) -> str:
    """Return the extra of slimpose that installs a third-party module; "" if none does."""
    from slimpose.runtime.backends.available import SPECS

    extras = dict(EXTRAS)
    for spec in SPECS.values():
        extras.update(spec.extras)
    return extras.get(module, "")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {command:<{width}}  {summary}" for command, summary in COMMANDS.items()]
    head = "usage: slimpose COMMAND [options]    (slimpose COMMAND --help lists the options)"
    return "\n".join([head, "", *lines])


def _leave_hanging_streams(code: int) -> None:
    """Arrange a hard exit at the end if the thread of a stream hangs inside OpenCV.

    Such a thread cannot be ended, and would abort the process at its end.
    """
    stream = sys.modules.get("slimpose.media.stream")
    if stream is None or stream.end_all_streams(_STREAM_END_S):
        return

    def leave() -> None:
        if not stream.end_all_streams(0.0):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    atexit.register(leave)


def _report(message: str, *, code: int = 1) -> int:
    """Print an error; return the exit code."""
    print(f"slimpose: {printable(redacted(message))}", file=sys.stderr)
    return code


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each DataWarning once, and each warning of the package's log, as one line."""
    log, show_before = logging.getLogger("slimpose"), warnings.showwarning
    handlers_before = log.handlers

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, DataWarning):
            _report(f"warning: {message}")
        else:
            show_before(message, category, *place, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("default", DataWarning)
        warnings.showwarning = show
        log.handlers = [_LogLines()]
        try:
            yield
        finally:
            log.handlers = handlers_before


class _LogLines(logging.Handler):
    """Prints records of the log to what is standard error at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "slimpose.media.stream":  # live prints its messages
            _report(record.getMessage())
