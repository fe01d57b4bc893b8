"""Coverage-guided fuzzing of the framing, beside the generated inputs of tests/property.

    python -m tests.fuzz [--seconds N] [--corpus DIRECTORY]
    python -m tests.fuzz FILE...

Needs atheris; without it that is said, and the status is 0. An input that fails is written to
the working directory, and its name given; FILE reads such inputs again.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--corpus", type=Path, help="kept; otherwise a temporary one")
    parser.add_argument("file", type=Path, nargs="*")
    options = parser.parse_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print("tests.fuzz: SKIPPED, atheris is not installed for this Python")  # noqa: T201
        return 0
    with atheris.instrument_imports(include=["sqsuper.http1", "h11"], enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    if options.file:
        for file in options.file:
            targets.check(file.read_bytes())
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        words = Path(temporary) / "words"
        words.write_text("".join(f'"{escaped(word)}"\n' for word in targets.WORDS))
        corpus = options.corpus or Path(temporary) / "corpus"
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(targets.SEEDS):
            (corpus / f"seed-{number}").write_bytes(seed)
        arguments = [
            sys.argv[0],
            f"-max_total_time={options.seconds}",
            f"-dict={words}",
            "-max_len=1024",
            "-timeout=20",
            str(corpus),
        ]
        atheris.Setup(arguments, targets.check)
        # Ends the process.
        atheris.Fuzz()
    return 0


def escaped(word: bytes) -> str:
    """Return `word` as a dictionary of libFuzzer has it."""
    return "".join(f"\\x{value:02x}" for value in word)


if __name__ == "__main__":
    sys.exit(main())
