"""The `audit` part of `home.json`: where checkpoints of the audit trail are anchored. Strictly read."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from clients.outbound import EVERYTHING, NotReachable


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileDocument(_Strict):
    """A file that is only added to."""

    kind: Literal["file"]
    path: Path


class SyslogDocument(_Strict):
    """A socket's path, or HOST:PORT."""

    kind: Literal["syslog"]
    address: str = "/dev/log"


class WebhookDocument(_Strict):
    """An address that keeps what is posted; the file holds the secret it is signed with."""

    kind: Literal["webhook"]
    url: str
    secret_file: Path

    @field_validator("url")
    @classmethod
    def _https(cls, url: str) -> str:
        try:
            EVERYTHING.judge(url)
        except NotReachable as fault:
            raise ValueError(str(fault)) from None
        return url


class TransitDocument(_Strict):
    """A key of Vault's transit engine, and the file that keeps what it signed. Needs `vault`."""

    kind: Literal["transit"]
    path: Path
    key: str = "portcullis-audit"
    mount: str = "transit"


AnchorDocument = Annotated[
    FileDocument | SyslogDocument | WebhookDocument | TransitDocument, Field(discriminator="kind")
]


class AuditDocument(_Strict):
    """Anchors; without one, whoever owns this host can rewrite the whole trail unseen."""

    anchors: list[AnchorDocument] = []
