"""Finds the verb, calls it, and turns errors into one line and an exit code: 2 bad input, 1 the program failed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import tyro
from rich.console import Console

from slimpose.cli.output_paths import redirect_closed_stdout
from slimpose.media.addresses import redacted

COMMANDS = {
    "predict": "find everyone in images and videos; draw and write their poses",
    "live": "watch cameras and streams, several at once; follow everyone in them",
    "evaluate": "measure a model's accuracy on a COCO file",
    "models": "list the shipped models",
    "doctor": "what this machine has for it, and which backend would be fastest",
    "benchmark": "measure speed: models alone, the whole way, beside other people's models",
    "plan": "models, backend, threads and detection interval for so many people, cameras and pictures a second",
    "compare": "pose systems side by side: cost, time, accuracy here and as published",
    "cost": "parameters, multiply-adds and the paper's tool number of a network",
    "train": "train a pose net or a person detector",
    "paper": "the paper's tables beside what finished runs measured",
    "import-trunk": "make a training start from a published graph",
    "import-weights": "turn a published checkpoint of a compared net into weights",
    "prune": "make a smaller net out of a trained one, for training to go on from",
    "average": "make one net of several runs of it: the mean of their weights",
    "lint": "which layers of a model a chip or runtime computes, which not, and why",
    "fit": "find the net that a chip computes whole, near a number of multiply-adds",
    "export": "turn weights into a file for a runtime: ONNX, OpenVINO, LiteRT, NCNN, TensorRT",
    "quantize": "make an INT8 or FP16 file that keeps a promise on its accuracy",
    "verify": "tell how far apart two models' answers are on the same people",
}

EXTRAS = {"pycocotools": "eval", "supervision": "supervision", "matplotlib": "plot"}
"""Extra of the package by the third-party module it brings; ``BackendSpec.extras`` has more."""

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``slimpose VERB ...``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _called(words)
        sys.stdout.flush()
    except BAD_INPUT as error:
        _fail(str(error), code=2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("slimpose"):
            raise
        extra = _extra_of((error.name or "").partition(".")[0])
        _fail(
            f"slimpose {words[0]} needs {error.name}, which is not installed: pip install 'slimpose[{extra}]'",
            code=1,
        )
    except BrokenPipeError:  # head, or less that was left: nobody to tell
        redirect_closed_stdout()
        code = 1
    except (RuntimeError, OSError, FloatingPointError) as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        _fail("interrupted", code=130)
    raise SystemExit(code)


def _called(words: Sequence[str]) -> int:
    """Do what the command says; return its exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        import slimpose

        print(f"slimpose {slimpose.__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise ValueError(
            f"no verb is named {redacted(words[0])!r}; expected one of {', '.join(COMMANDS)}"
        )
    name = words[0].replace("-", "_")
    verb = getattr(importlib.import_module(f"slimpose.cli.{name}"), name)
    try:
        return tyro.cli(verb, args=words[1:], prog=f"slimpose {words[0]}") or 0
    except (
        SystemExit
    ) as leaving:  # tyro has printed a verb's help, or what is wrong with its options
        return leaving.code if isinstance(leaving.code, int) else 0


def _extra_of(module: str) -> str:
    """Return the extra of the package that brings a third-party module."""
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
    lines = [f"  {verb:<{width}}  {what}" for verb, what in COMMANDS.items()]
    return "usage: slimpose VERB [options]    (slimpose VERB --help tells them)\n\n" + "\n".join(
        lines
    )


def _fail(message: str, *, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
        f"slimpose: {message}"
    )
    raise SystemExit(code)
