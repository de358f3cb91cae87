"""The `database` part of `home.json`: the PostgreSQL that keeps this home's state. Strictly read; no secret in it."""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class DatabaseDocument(BaseModel):
    """How to reach it. `hosts` are `HOST:PORT`; of several the one that takes writes is found.

    `namespace` is the schema that the tables are in, whatever a search path says.
    """

    model_config = ConfigDict(extra="forbid")

    hosts: list[str] = Field(min_length=1)
    database: str = Field(default="portcullis", min_length=1, max_length=63)
    user: str = Field(default="portcullis", min_length=1, max_length=63)
    password_file: Path | None = None
    ssl_mode: Literal["verify-full", "verify-ca", "disable"] = "verify-full"
    ca_file: Path | None = None
    single_node: bool = False
    namespace: str = Field(default="public", pattern=r"^[a-z_][a-z0-9_]{0,62}$")

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            name, colon, port = host.rpartition(":")
            if not colon or not name or not port.isdigit() or not 0 < int(port) < 2**16 or "," in name:
                raise ValueError(f"{host[:80]!r} is not HOST:PORT")
        return hosts

    @model_validator(mode="after")
    def _no_clear_text(self) -> "DatabaseDocument":
        if self.ssl_mode == "disable" and not all(
            _is_loopback(host.rpartition(":")[0]) for host in self.hosts
        ):
            raise ValueError(
                "ssl_mode disable is for loopback only: elsewhere who listens could also change what we read"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
