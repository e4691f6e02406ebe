"""The one exception that users see: a sentence that names the value, the rule and the remedy."""


class UserError(Exception):
    """A mistake that the user can mend; entry points print its text and exit with status 2."""
