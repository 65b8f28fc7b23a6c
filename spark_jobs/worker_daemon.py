"""Spark's Python daemon with the heavy imports done: each worker that it forks starts with them.

Spark ends workers that were idle for a minute; without this every step would pay for torch and transformers again.
It starts them in their session's folder, and deletes that after a hundred later sessions or half an idle hour, with the
session and its workers still of use; code that asks for its folder, as torch does at a late import, then fails. They run in
the temporary folder instead.
"""

import os
import tempfile

import pyarrow  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    os.chdir(tempfile.gettempdir())
    manager()
