"""The verbs of the ``recloop`` command, by the panel of ``recloop --help`` that shows them."""
