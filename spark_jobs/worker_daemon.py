"""Spark's Python daemon with the heavy imports done: each worker that it forks starts with them.

Spark ends workers that were idle for a minute; without this every step would pay for torch and transformers again.
"""

import pyarrow  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
