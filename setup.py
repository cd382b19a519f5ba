"""Only what pyproject.toml cannot say: one C extension that may be absent.

``retrieval._maxsim`` makes reranking several times faster. Without a compiler, or from a
source tree without the file, the installation goes on and numpy does the same work.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCE, HEADER = "retrieval/_maxsim.c", "retrieval/_maxsim_blocks.h"

extensions = []
if (Path(__file__).parent / SOURCE).is_file():
    flags = ["/O2"] if sys.platform == "win32" else ["-O3", "-std=gnu11", "-ffp-contract=fast"]
    # optional: a failing compiler is a warning, not a failed installation
    extensions.append(
        Extension(
            "retrieval._maxsim", [SOURCE], depends=[HEADER], extra_compile_args=flags, optional=True
        )
    )

setup(ext_modules=extensions)
