"""The two families of error that a step may end with; everything else is a bug.

The message is part of the product: it names the field and says what to do.
"""

from typing import Final

EXIT_MISS: Final = 3
"""Only looked, and the store has no result: no error."""
EXIT_USER: Final = 64
"""``EX_USAGE``: retrying cannot help."""
EXIT_BUG: Final = 70
"""``EX_SOFTWARE``: an exception nobody planned; its traceback is in the log."""
EXIT_TRANSIENT: Final = 75
"""``EX_TEMPFAIL``: the same call may succeed later."""


class UserError(Exception):
    """Raise when retrying cannot help: the input or the spec has to change."""


class TransientError(Exception):
    """Raise when the same work may succeed later: a store, a network, a busy device."""
