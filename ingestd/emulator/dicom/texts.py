"""How the service decodes texts: as fo-dicom does, which the Azure service is built on.

Where the declared character set does not have a byte, a decoder of .NET puts "?" (that of UTF-8 puts U+FFFD). Where nothing is
declared, or a term that fo-dicom does not know, the set is ASCII, which has no byte above 127. Escape sequences count only where
(0008,0005) has several values and names their set; a delimiter ends them. What .NET puts for bytes that a table of several bytes a
character lacks is not known to the last sign: here it is one "?" a byte.

Source: fo-dicom/fo-dicom, FO-DICOM.Core/DicomEncoding.cs and FO-DICOM.Core/IO/Reader/DicomDatasetReaderObserver.cs.
"""

import codecs
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

DEFAULT: Final = ("ascii",)

_LATIN: Final = {
    "100": "iso8859_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "166": "cp874",
    "13": "cp932",
}
_CODECS: Final = (
    {f"ISO_IR {number}": codec for number, codec in _LATIN.items()}
    | {f"ISO 2022 IR {number}": codec for number, codec in _LATIN.items()}
    | {"ISO_IR 192": "utf_8", "GBK": "gbk", "GB18030": "gb18030", "ISO 2022 IR 6": "ascii", "ISO 2022 GBK": "gbk"}
    | {"ISO 2022 IR 87": "iso2022_jp_ext", "ISO 2022 IR 159": "iso2022_jp_ext", "ISO 2022 IR 58": "gbk"}
)

_ESCAPE: Final = 0x1B
_KEEPS_ESCAPES: Final = "iso2022_jp_ext"
_ESCAPED: Final = {
    b"-A": "iso8859_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "cp874",
    b"(B": "ascii",
    b"(J": "cp932",
    b")I": "cp932",
    b"$B": "iso2022_jp_ext",
    b"$(D": "iso2022_jp_ext",
    b"$)D": "iso2022_jp_ext",
    b"$)C": "euc_kr",
    b"$)A": "gbk",
}
_ENDS: Final = b"\r\n\t\f"
_ENDS_IN_NAMES: Final = b"^="


def declared(value: bytes, inherited: Sequence[str]) -> Sequence[str]:
    """Python's codecs for a value of SpecificCharacterSet (0008,0005); an empty one changes nothing."""
    text = value.decode("ascii", _QUESTION).rstrip(" ")
    return [_codec(term.strip()) for term in text.split("\\")] if text else inherited


def decode(value: bytes, encodings: Sequence[str], *, name: bool = False) -> str:
    """The text of these bytes; `name` for one whose VR is PN."""
    escapes = [at for at, byte in enumerate(value) if byte == _ESCAPE] if len(encodings) > 1 else []
    if not escapes:
        return _plain(value, encodings[0])
    ends = _ENDS_IN_NAMES if name else _ENDS
    bounds = [0, *(at for at in escapes if at), len(value)]
    return "".join(_fragment(value[start:end], encodings, ends) for start, end in pairwise(bounds))


def _codec(term: str) -> str:
    return _CODECS.get(term) or _CODECS.get(term.replace("ISO IR", "ISO_IR").replace("ISO-IR", "ISO_IR"), "ascii")


def _fragment(value: bytes, encodings: Sequence[str], ends: bytes) -> str:
    """What reaches from one escape sequence to the next."""
    encoding, start = encodings[0], 0
    if value[0] == _ESCAPE:
        start = 4 if value[1:3] == b"$(" or value[2:3] == b")" else 3
        found = _ESCAPED.get(value[1:start], "ascii")
        encoding = found if found in encodings else "ascii"
    if encoding == _KEEPS_ESCAPES:
        return _plain(value, encoding)
    end = next((at for at in range(start, len(value) - 1) if value[at] in ends), len(value))
    return _plain(value[start:end], encoding) + _plain(value[end:], encodings[0])


def _plain(value: bytes, encoding: str) -> str:
    return value.decode(encoding, "replace" if encoding == "utf_8" else _QUESTION)


def _question(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?", error.start + 1


_QUESTION: Final = "ingestd.question"
codecs.register_error(_QUESTION, _question)
