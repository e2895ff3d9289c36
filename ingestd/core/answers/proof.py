"""What proves that the service holds these bytes, and what each proof is enough for (I2).

A status code, 45070, equal metadata, an old receipt: each is a hint and lies sometimes, so none of them stands here alone.
"""

from __future__ import annotations

import enum


class Proof(enum.Enum):
    """How it was proved; the words stand in the receipts."""

    NEW = "new"  # named as stored in the answer to these very bytes, by a service that names only what it did not have
    FETCHED = "fetched"  # what the service gave back has the same transfer syntax and the same data set
    ASKED = "asked"  # named, and the service had been asked before the send and did not have it
    REMEMBERED = (
        "remembered"  # our receipt of NEW or FETCHED with the same digest, and metadata that contradict nothing
    )
    SEEN = "seen"  # named by a service that rewrites, and its metadata contradict nothing but what is coerced
    WORD = "word"  # the word of a service that lets nothing be asked

    @property
    def for_removal(self) -> bool:
        """Whether a file may go for good on it. All of them are enough for a move."""
        return self in (Proof.NEW, Proof.FETCHED)


OLD_START = 128  # bytes before what a digest of the first kind was made over


class DigestKind(enum.Enum):
    """Over which bytes of a file a digest was made; the words stand in the receipts."""

    DATA_SET = "data_set"  # from behind the file meta information to the end
    FROM_128 = "from_128"  # from byte 128 to the end: receipts of the first kind
