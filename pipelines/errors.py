"""The errors that a user can act on: one line that says what was found, what was expected and what to do."""


class UserError(Exception):
    """Shown as one line, without a traceback; the command ends with exit code 1."""
