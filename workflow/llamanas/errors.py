"""The one exception whose message is meant for the user."""


class LlamaNasError(Exception):
    """Bad input or a bad environment: the message names what was wrong, what was expected and what to do.

    A job prints the message alone, without a traceback, and exits with status 1.
    """
