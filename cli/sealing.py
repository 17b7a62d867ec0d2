"""`veloera ledger seal`, `anchor`, `seal-key`, `prove`, `check-proof`: blocks that can no longer change unseen, and what they prove."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.failures import ExitCode, Failure, Misused, NotFound, Refused
from cli.opening import environment, opened_store
from cli.output import answer, emit, example, json_option, moment, say, warn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from api.settings import Environment
    from ledger.proofs import Proof
    from ledger.store import LedgerReader, Seal

KEY_ID = re.compile(r"[0-9a-f]{32}")
MAX_PROOF_BYTES = 64 * 1024 * 1024

trust_option = click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="FILE|KEY_ID",
    help="A public key whose signatures count as well: its file, or its id where the key is in what is checked.",
)


def trust_of(settings: Environment, named: Iterable[str] = ()) -> tuple[dict[str, bytes], frozenset[str]]:
    """The public keys whose signatures count: this folder's, and those that are named; and key ids that were named alone."""
    from ledger.errors import SealRefused
    from ledger.seal_keys import KEY_FILE, id_of, seal_key, trusted

    names = list(named)
    ids = frozenset(name for name in names if KEY_ID.fullmatch(name) and not Path(name).exists())
    try:
        keys = trusted(settings.data_dir, [Path(name) for name in names if name not in ids])
        if settings.seal_key or (settings.data_dir / KEY_FILE).exists():
            own = seal_key(settings.data_dir.resolve(), settings.seal_key, kept=False).public
            keys[id_of(own)] = own
    except SealRefused as error:
        raise Misused(str(error)) from None
    return keys, ids


@click.command(epilog=example("veloera ledger seal", "veloera ledger seal --json"))
@json_option
def seal(*, as_json: bool) -> None:
    """Seal every fact that is not in a block yet.

    A running gateway does it every few seconds; both may do it at once.
    """
    from ledger.sealer import seal_here

    settings = environment()
    with opened_store() as store:
        made = seal_here(store, settings.data_dir.resolve(), settings.seal_key, time.time_ns() // 1_000_000)
        newest = store.last_seal()
    facts = sum(block.facts for block in made)
    record = {"blocks_made": len(made), "facts_sealed": facts, **_anchor_record(newest)}
    named = "" if newest is None else f" The newest is block {newest.number:,}, {_hash(newest)}."
    text = f"Sealed {facts:,} facts in {len(made):,} blocks." if made else "Every fact is sealed already."
    answer(record, text + named, as_json=as_json)


@click.command(epilog=example("veloera ledger anchor", "veloera ledger anchor --json >> anchors.jsonl"))
@json_option
def anchor(*, as_json: bool) -> None:
    """Print the newest block and its hash, to be kept where nobody who can write here can write.

    `veloera ledger verify --anchor` compares with it: a ledger that was replaced since then, even by somebody who has the seal key, has
    another hash there.
    """
    with opened_store() as store:
        newest = store.last_seal()
    if newest is None:
        raise NotFound("nothing is sealed yet; `veloera ledger seal` does it")
    answer(_anchor_record(newest), f"block {newest.number} {_hash(newest)} {moment(newest.at)}", as_json=as_json)


@click.command(
    "seal-key",
    epilog=example(
        "veloera ledger seal-key > seal.pub", "veloera ledger seal-key --new", "veloera ledger seal-key --json"
    ),
)
@click.option("--new", is_flag=True, help="Make a new key in the place of the old; blocks of the old one stay good.")
@json_option
def seal_key(*, new: bool, as_json: bool) -> None:
    """Print the public key that blocks are signed with, as PEM: for auditors, and for `--trust`.

    The private key is SEAL_KEY or seal.key in the data folder, and never in the database.
    """
    from ledger import seal_keys

    settings = environment()
    folder, secret = settings.data_dir.resolve(), settings.seal_key
    if new and secret:
        raise Misused("SEAL_KEY is set: put another one there, the public key of this one stays in seal-keys")
    with opened_store() as store:
        first = store.last_seal() is None
    key = seal_keys.make_key(folder) if new else seal_keys.seal_key(folder, secret, new=first)
    pem = seal_keys.pem_of(key.public)
    if as_json:
        emit({"key_id": key.id, "public_key": key.public.hex(), "pem": pem})
        return
    click.echo(pem, nl=False)
    warn(f"key {key.id}")


@click.command(
    epilog=example(
        "veloera ledger prove 0199b3c2d4e5f60718293a4b5c6d7e8f", "veloera ledger prove 1234 --json > proof.json"
    )
)
@click.argument("what", metavar="REQUEST_ID|POSITION|STREAM")
@trust_option
@json_option
def prove(what: str, trusted: tuple[str, ...], *, as_json: bool) -> None:
    """Prove that facts are in the ledger as it was sealed: of a call by its request id, of a stream, or the one at a position.

    With --json each proof is one line: fact, block, audit path, signature, public key. `veloera ledger check-proof` checks
    them anywhere, without a ledger.
    """
    from ledger.errors import SealRefused
    from ledger.proofs import encode
    from ledger.proofs import prove as proven

    keys, _ = trust_of(environment(), trusted)
    with opened_store() as store, store.snapshot() as reader:
        positions = _positions(reader, what)
        try:
            proofs = [proven(reader, position, keys) for position in positions]
        except SealRefused as error:
            raise Refused(str(error)) from None
    for proof in proofs:
        say(encode(proof).decode()) if as_json else _say_proof(proof)


@click.command("check-proof", epilog=example("veloera ledger check-proof proof.json --trust seal.pub"))
@click.argument("file", type=click.File("rb"))
@trust_option
@json_option
def check_proof(file: BinaryIO, trusted: tuple[str, ...], *, as_json: bool) -> None:
    """Check proofs, one a line; needs no ledger. Exits 1 unless every fact was in a block signed by a trusted key.

    Trusted are the keys in this data folder's seal-keys, if there are any, and those that are named.
    """
    from ledger.errors import ProofBroken
    from ledger.proofs import check, decode

    keys, ids = trust_of(environment(), trusted)
    lines = [line for line in file.read(MAX_PROOF_BYTES).splitlines() if line.strip()]
    if not lines:
        raise Failure("there is no proof in it")
    for number, line in enumerate(lines, start=1):
        try:
            proof = decode(line)
            check(proof, keys | _named(proof, ids))
        except ProofBroken as error:
            if as_json:
                emit({"line": number, "proven": False, "why": str(error)})
                raise click.exceptions.Exit(ExitCode.DIFFERENCE) from None
            raise Failure(f"line {number}: {error}") from None
        emit({"line": number, "proven": True, **_proof_record(proof)}) if as_json else _say_proof(proof)


def _named(proof: Proof, ids: frozenset[str]) -> dict[str, bytes]:
    """The key within a proof, where its id was named."""
    from ledger.seal_keys import id_of

    try:
        public = bytes.fromhex(proof.public_key)
    except ValueError:
        return {}
    return {id_of(public): public} if id_of(public) in ids else {}


def _positions(reader: LedgerReader, what: str) -> list[int]:
    from ledger.explain import stream_of
    from ledger.proofs import positions_of

    if what.isdecimal() and len(what) < 20:
        there = reader.read_stored(int(what) - 1, 1)
        if not there or there[0].position != int(what):
            raise NotFound(f"there is no fact at position {what}")
        return [int(what)]
    try:
        positions = positions_of(reader, stream_of(what))
    except ValueError:
        raise Misused(f"{what!r} is no position, request id or stream: expected a number, or 32 hex digits") from None
    if not positions:
        raise NotFound(f"there is no fact in stream {what}")
    return positions


def _say_proof(proof: Proof) -> None:
    block = proof.block
    say(f"position {proof.position:,}  {proof.topic}  stream {proof.stream}, version {proof.version}")
    say(f"  {proof.state or proof.state_base64}")
    say(
        f"  is number {proof.index + 1:,} of {block.facts:,} in block {block.number:,}, sealed {moment(block.at_ms)} UTC,"
    )
    say(f"  signed by key {block.key_id}")


def _proof_record(proof: Proof) -> dict[str, object]:
    block = proof.block
    return {
        "position": proof.position,
        "stream": proof.stream,
        "version": proof.version,
        "topic": proof.topic,
        "state": proof.state,
        "block": block.number,
        "sealed_at_ms": block.at_ms,
        "key_id": block.key_id,
    }


def _anchor_record(newest: Seal | None) -> dict[str, object]:
    if newest is None:
        return {"block": None, "hash": None}
    return {"block": newest.number, "hash": _hash(newest), "last_position": newest.last, "sealed_at_ms": newest.at}


def _hash(block: Seal) -> str:
    from ledger.seals import hash_of

    return hash_of(block).hex()
