"""The few ways a request or a command can fail. Each knows its HTTP status and its exit code."""


class ServiceError(Exception):
    """A failure with one sentence for the user: what is wrong and, where there is one, the next step."""

    status = 500
    exit_code = 1


class BadRequest(ServiceError):
    """An argument or parameter that cannot be accepted; the message names it and what it accepts."""

    status = 400
    exit_code = 2


class NotFound(ServiceError):
    """A park or ride that does not exist."""

    status = 404
    exit_code = 2


class Unavailable(ServiceError):
    """The database is unreachable, too slow, not migrated, or of another interval."""

    status = 503
    exit_code = 3


class Unreachable(Unavailable):
    """The database does not answer. The message has the driver's words, which name hosts and users: not for the web."""


class BadFeed(ServiceError):
    """A source answered nonsense: not JSON, or not what its address is known to give. Nothing of it was used."""

    status = 502


class Unanswered(ServiceError):
    """A public source gave no answer that can be used. The message names its host and what happened, no secrets."""

    status = 502


class Silent(Unanswered):
    """A public source did not answer however often it was asked, or says that it cannot at present: no fault of the
    question."""
