"""The environment, read once. Nothing else in the house looks at it.

Names are the family's. What operators change at run time (prices, groups, limits, texts) are settings in the ledger, not here.
"""

import socket
import ssl
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.place import is_postgres

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Environment(BaseSettings):
    """Everything a process is told from outside. Units are in the names; a wrong value stops the start with its name."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    port: int = Field(default=3000, ge=0, le=65535, description="TCP port")
    host: str = Field(default="127.0.0.1", description="address to listen on; the container image sets 0.0.0.0")
    workers: int = Field(default=1, ge=1, le=64, description="processes that carry calls, on this machine")
    data_dir: Path = Field(
        default=Path("./data"), description="folder of the embedded store, and of what a machine keeps for itself"
    )
    sql_dsn: str = Field(
        default="", description="postgresql://...: the ledger on a server; empty: the embedded SQLite store in DATA_DIR"
    )
    redis_conn_string: str = Field(default="", description="Redis for what is shared but not money; optional")
    redis_timeout_ms: int = Field(
        default=100, ge=1, le=10_000, description="ms until an answer of Redis is done without"
    )
    redis_retry_ms: int = Field(
        default=1000, ge=10, le=600_000, description="ms until a Redis that failed is asked again"
    )
    crypto_secret: str = Field(
        default="", description="wraps the vault's keys; empty: DATA_DIR/secret.key, not with SQL_DSN"
    )
    seal_key: str = Field(
        default="", description="Ed25519 key that signs blocks of facts, PEM or base64; empty: DATA_DIR/seal.key"
    )
    session_secret: str = Field(default="", description="signs sessions; empty: derived from the vault's id key")
    node_name: str = Field(default_factory=socket.gethostname, description="this machine, in holds and logs")
    ledger_durability: Literal["full", "process"] = Field(
        default="full", description="full: survives power loss; process: survives kill -9 only, for slow disks"
    )

    spool_limit_mb: float = Field(
        default=64,
        gt=0,
        le=65_536,
        description="MiB of ends of calls that wait while PostgreSQL is away, for each process",
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
    upstream_connections_per_origin: int = Field(
        default=0, ge=0, le=65_536, description="to one scheme, host and port, per process; 0: no cap of its own"
    )
    upstream_waiting: int = Field(
        default=4096,
        ge=0,
        le=1_000_000,
        description="calls that wait for a connection, per process; the next is refused",
    )
    upstream_idle_s: Seconds = Field(default=30, description="how long a connection to an upstream may be idle")
    upstream_ca_file: Path | None = Field(
        default=None, description="a PEM file of roots that upstreams are trusted by, beside the system's"
    )
    upstream_addresses: Literal["any", "public"] = Field(
        default="any", description="public: never this machine, its network, or a cloud's own addresses"
    )
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
    def _a_store_that_is_served(cls, dsn: str) -> str:
        if dsn.startswith(("sqlite:", "local")):
            return ""
        if dsn and not is_postgres(dsn):
            raise ValueError(
                "a ledger is kept on PostgreSQL (postgresql://user:password@host/database), or in DATA_DIR when it is empty"
            )
        return dsn

    @field_validator("upstream_ca_file")
    @classmethod
    def _a_file_of_certificates(cls, path: Path | None) -> Path | None:
        if path == Path():  # an empty text
            return None
        if path is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(f"no certificates can be read from {path}: {error.strerror or error}") from error
        return path

    @field_validator("redis_conn_string")
    @classmethod
    def _an_address_of_a_redis(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            right = not url or (parts.scheme in ("redis", "rediss", "unix") and parts.port != 0)
        except ValueError:  # a port that is no number
            right = False
        if not right:
            raise ValueError("expected redis://HOST:PORT/NUMBER, rediss:// for TLS, or unix:// and a path")
        return url

    @model_validator(mode="after")
    def _a_secret_for_a_shared_store(self) -> Self:
        if self.sql_dsn and not self.crypto_secret:
            raise ValueError("with SQL_DSN the secret must be the same everywhere: set CRYPTO_SECRET")
        return self

    @property
    def call_timeout_s(self) -> float:
        """The longest that one call may take."""
        return self.relay_timeout or self.total_timeout_s
