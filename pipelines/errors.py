"""The errors that a user can act on: one line that says what was found, what was expected and what to do."""


class UserError(Exception):
    """Shown as one line, without a traceback; the command ends with exit code 1."""


class TransientError(UserError):
    """May pass by itself: the scheduler tries the step again, where any other UserError fails it at once."""
