"""A request that is not answered, and the status that says so."""

from lepton_ai.errors import LeptonError


class RefusalError(LeptonError):
    """A request that cannot be answered; ``status`` is the HTTP status, the message its reason."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}
