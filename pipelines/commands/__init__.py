"""The verbs of the ``recloop`` command, each a thin shell over the module that does it."""
