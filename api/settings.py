"""The environment, read once. Nothing else in the house looks at it.

Names are the family's. What operators change at run time (prices, groups, limits, texts) are settings in the ledger, not here.
"""

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Environment(BaseSettings):
    """Everything a process is told from outside. Units are in the names; a wrong value stops the start with its name."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    port: int = Field(default=3000, ge=0, le=65535, description="TCP port")
    host: str = Field(default="127.0.0.1", description="address to listen on; the container image sets 0.0.0.0")
    data_dir: Path = Field(default=Path("./data"), description="folder of the embedded store")
    sql_dsn: str = Field(default="", description="empty: the embedded SQLite store in DATA_DIR")
    redis_conn_string: str = Field(default="", description="Redis for what is shared but not money; optional")
    crypto_secret: str = Field(default="", description="wraps the vault's keys; empty: DATA_DIR/secret.key")
    session_secret: str = Field(default="", description="signs sessions; empty: derived from the vault's id key")
    node_name: str = Field(default_factory=socket.gethostname, description="this machine, in holds and logs")
    ledger_durability: Literal["full", "process"] = Field(
        default="full", description="full: survives power loss; process: survives kill -9 only, for slow disks"
    )

    hold_output_tokens: int = Field(default=4096, ge=1, le=1_000_000, description="tokens held for a stream at first")
    hold_grace_s: Seconds = Field(default=60, description="from a call's total timeout to its hold's deadline")
    connect_timeout_s: Seconds = 10
    first_byte_timeout_s: Seconds = 300
    streaming_timeout: Seconds = Field(default=60, description="seconds: the longest gap between two upstream bytes")
    relay_timeout: float = Field(default=0, ge=0, le=86_400, description="seconds for a whole call; 0: TOTAL_TIMEOUT_S")
    total_timeout_s: Seconds = 1800
    tail_wait_s: Seconds = 5
    force_stream_option: bool = Field(
        default=True, description="ask upstream for usage in streams, whatever the client asked"
    )
    max_request_body_mb: float = Field(default=32, gt=0, le=1024, description="MiB")
    max_answer_mb: float = Field(default=64, gt=0, le=1024, description="MiB of one answer that is not streamed")
    max_event_kb: int = Field(default=4096, ge=1, le=65_536, description="KiB of one server-sent event")
    upstream_connections: int = Field(default=1024, ge=1, le=65_536, description="per process")
    upstream_pool: Literal["lean", "aiohttp"] = Field(
        default="lean", description="lean: our own HTTP/1.1 pool; aiohttp: the library's, at about three times the CPU"
    )
    http1_engine: Literal["fast", "hypercorn"] = Field(
        default="fast", description="fast: our HTTP/1.1 protocol on llhttp inside hypercorn; hypercorn: its own"
    )

    shutdown_timeout_s: Seconds = 30
    sandbox_tokens_per_s: float = Field(default=60, gt=0, le=100_000, description="the pace of the sandbox channel")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("sql_dsn")
    @classmethod
    def _only_the_embedded_store(cls, dsn: str) -> str:
        if dsn and not dsn.startswith(("sqlite:", "local")):
            raise ValueError(
                "this release has the embedded SQLite store only; leave SQL_DSN empty (PostgreSQL comes next)"
            )
        return dsn

    @property
    def call_timeout_s(self) -> float:
        """The longest that one call may take."""
        return self.relay_timeout or self.total_timeout_s
