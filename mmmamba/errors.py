"""The error that a user can mend; every room may raise it."""


class UserError(RuntimeError):
    """A config, data or checkpoint at fault; the message is one line that says what to do, and all a user sees."""
