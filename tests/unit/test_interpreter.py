"""How processes of ours begin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqsuper import interpreter

TELL = "import sys; print(*sys.argv[1:], *(name in sys.modules for name in ('site', 'sqsuper')))"


def said(argv: list[str], cwd: Path) -> str:
    # Neither what stands there nor the variables count.
    (cwd / "os.py").write_text("raise SystemExit(9)\n")
    environment = {"PYTHONPATH": str(cwd), "PYTHONHOME": str(cwd)}
    done = subprocess.run(
        argv, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_file_has_the_standard_library_alone(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(TELL)
    argv = interpreter.with_file(program)
    assert argv[0] == sys.executable
    assert said([*argv, "a", "b"], tmp_path) == "a b False False"


def test_so_has_a_text(tmp_path: Path) -> None:
    assert said([*interpreter.with_text(TELL), "a"], tmp_path) == "a False False"


def test_a_text_may_import_what_we_can(tmp_path: Path) -> None:
    program = f"{interpreter.FIND_OURS}import sqsuper, attrs;{TELL}"
    assert said([*interpreter.with_ours(program), "a"], tmp_path) == "a True True"
