"""A proof that one fact was in the ledger when a block was sealed: the fact, its block, the audit path between them, a signature.

Whoever has the public key can check it with nothing else at hand: no database, no other fact.
"""

import msgspec

from domain import streams
from domain.events import ChargeHeld
from domain.streams import StreamId
from ledger import merkle
from ledger.errors import ProofBroken, SealRefused
from ledger.seal_keys import PublicKeys, is_signed
from ledger.seal_shapes import PUBLIC_BYTES, BlockShape, bytes_of, seal_of, shape_of, texts_of, unhex, whole
from ledger.seals import block_of, facts_of, signed_part
from ledger.store import LedgerReader, Seal, StoredFact

FORMAT = "veloera-proof/1"
MAX_EXTENSIONS = 10_000


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is stated, and what it is proven with."""

    format: str
    position: int
    stream: str
    version: int
    topic: str
    block: BlockShape
    index: int
    """The place of the fact in its block, from 0."""
    path: list[str]
    """Hashes from the leaf to the root, hex."""
    public_key: str
    """Ed25519, 32 bytes, hex."""
    state: str = ""
    """The stored bytes, where they are text."""
    state_base64: str = ""
    """The stored bytes, where they are none."""

    @property
    def fact(self) -> StoredFact:
        """Raises ValueError."""
        state = bytes_of(self.state, self.state_base64)
        return StoredFact(whole(self.position), self.stream, whole(self.version), self.topic, state)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Proof)


def encode(proof: Proof) -> bytes:
    """One JSON object."""
    return _encoder.encode(proof)


def decode(line: bytes) -> Proof:
    """Raises ProofBroken."""
    try:
        proof = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProofBroken(f"this is no proof: {error}") from error
    if proof.format != FORMAT:
        raise ProofBroken(f"this is no proof of the format {FORMAT}")
    return proof


def prove(reader: LedgerReader, position: int, keys: PublicKeys) -> Proof:
    """A proof of one fact. Raises SealRefused where it is not sealed yet, or its block is not what was sealed."""
    seal = block_of(reader, position)
    if seal is None:
        raise SealRefused(
            f"position {position} is not sealed yet: it will be within seconds, or at once by `veloera ledger seal`"
        )
    public = keys.get(seal.key_id)
    if public is None:
        raise SealRefused(
            f"the public key {seal.key_id} of block {seal.number} is not here: name its file with --trust"
        )
    facts, leaves = _facts_in(reader, seal, position)
    if len(facts) != 1 or merkle.root_of(leaves) != seal.root:
        raise SealRefused(f"block {seal.number} is not what was sealed: run `veloera ledger verify --full`")
    ((index, fact),) = facts
    text, coded = texts_of(fact.state)
    return Proof(
        format=FORMAT,
        position=position,
        stream=fact.stream,
        version=fact.version,
        topic=fact.topic,
        block=shape_of(seal),
        index=index,
        path=[beside.hex() for beside in merkle.path_to(leaves, index)],
        public_key=public.hex(),
        state=text,
        state_base64=coded,
    )


def _facts_in(reader: LedgerReader, seal: Seal, position: int) -> tuple[list[tuple[int, StoredFact]], list[bytes]]:
    """The fact at a position with its place in a block, and the leaves of the block."""
    found: list[tuple[int, StoredFact]] = []
    leaves: list[bytes] = []
    for fact in facts_of(reader, seal.first - 1, page=min(seal.facts, 1000)):
        if fact.position > seal.last:
            break
        if fact.position == position:
            found.append((len(leaves), fact))
        leaves.append(merkle.leaf_of(fact))
    return found, leaves


def check(proof: Proof, trusted: PublicKeys) -> None:
    """Raises ProofBroken unless the fact was in a block that a trusted key has signed."""
    try:
        fact, seal, public = proof.fact, seal_of(proof.block), unhex(proof.public_key, PUBLIC_BYTES)
        path = [unhex(beside, merkle.HASH_BYTES) for beside in proof.path]
        leaf = merkle.leaf_of(fact)
    except ValueError as error:
        raise ProofBroken(f"this is no proof: {error}") from error
    if not merkle.is_included(leaf, proof.index, seal.facts, path, seal.root):
        raise ProofBroken(f"the fact is not the one in block {seal.number}")
    if not is_signed(public, seal.signature, signed_part(seal)):
        raise ProofBroken(f"block {seal.number} was not signed by the key that is named")
    if trusted.get(seal.key_id) != public:
        raise ProofBroken(
            f"block {seal.number} was signed by key {seal.key_id}, which is not trusted here: name it with --trust "
            "if it is the key of the ledger that this is about"
        )


def positions_of(reader: LedgerReader, stream: StreamId) -> list[int]:
    """Where the facts of a stream are; those of its extensions with them, where it is a charge."""
    facts = reader.read_stream(stream)
    if facts and isinstance(facts[0].fact, ChargeHeld):
        for n in range(1, MAX_EXTENSIONS):
            extension = reader.read_stream(streams.extension(stream, n))
            if not extension:
                break
            facts += extension
    return sorted(recorded.position for recorded in facts)
