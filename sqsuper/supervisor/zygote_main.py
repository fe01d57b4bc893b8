"""The zygote's start, by path: python -I -S zygote_main.py OPTIONS; see `zygote_program`.

Compiled anew each time, as a program's first file is; what does that leaves much memory that is
hardly used again and that all children share: hence nothing but this stands here.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.supervisor import zygote_program
else:
    # By path, as this file is: the package need not be importable, and must not be loaded.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import zygote_program

    sys.path.pop()

if __name__ == "__main__":
    sys.exit(zygote_program.main(sys.argv[1:]))
