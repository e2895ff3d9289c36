"""The Retrieve transaction (PS3.18 10.4): studies, series, instances, their metadata, and frames, as they were stored.

Nothing is transcoded. Azure turns a single instance, or its frames, into explicit VR little endian or JPEG 2000 when asked for it
in that; here that is 406, as it is at Azure for whatever it cannot transcode. Frames in a native little endian syntax are the same
bytes in each of them. A syntax that somebody asks for by name is given where everything asked for is stored in it.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ingestd.emulator import RefusedError
from ingestd.emulator.archive.archive import Archive, StoredInstance
from ingestd.emulator.dicom.frames import Frames, InseparableError, NoSuchFrameError, Span
from ingestd.emulator.http.endpoints import demand_dicom_json, not_found, scope_of
from ingestd.emulator.http.negotiation import DICOM, DICOM_JSON, JPEG_2000, OCTET_STREAM, Wanted, wanted
from ingestd.emulator.http.streaming import STEP_BYTES, Part, Streamed, in_parts

_ANY: Final = "*"
_NATIVE: Final = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
_MOST_FRAMES: Final = 10_000
_LOOKS: Final = 10
_NOT_ACCEPTABLE: Final = "The request headers are not acceptable"
_NOT_TRANSCODED: Final = "The specified transcoding is not supported."
_NOT_TRANSCODED_MANY: Final = (
    "Accept transfer syntax '{}' is not supported when multiple instances are matched. Matching instances can be retrieved with "
    "their original transfer syntax by specifying 'transfer-syntax=*' in the Accept header."
)
_NO_FRAMES: Final = (
    "The specified frames value is not valid. At least one frame must be present, and all requested frames must have value "
    "greater than 0."
)
_ONE_FRAME: Final = "The accept header is supported for single frame retrieval, use multi-part accept header instead."


class Retrieve:
    """GET of what is held."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def resource(self, request: Request) -> Response:
        """A study, a series or an instance, each instance a part; an instance alone is the body, unless parts are wanted."""
        return _as_it_is_now(self._resource, request)

    def frames(self, request: Request) -> Response:
        """The frames with these numbers, counted from 1 and set apart by commas, in this order."""
        return _as_it_is_now(self._frames, request)

    def _resource(self, request: Request) -> Response:
        scope = scope_of(request)
        is_instance = scope.level == "instance"
        entries = [entry for entry in wanted(request.headers.getlist("accept")) if _is_dicom(entry, alone=is_instance)]
        if not entries:
            raise RefusedError(406, _NOT_ACCEPTABLE)
        found = self._archive.instances(scope)
        if not found:
            return not_found(scope.level)
        entry = next((entry for entry in entries if _as_stored(entry, found)), None)
        if entry is None:
            refusal = _NOT_TRANSCODED if len(found) == 1 else _NOT_TRANSCODED_MANY
            raise RefusedError(406, refusal.format(_syntax(entries[0], ExplicitVRLittleEndian)))
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._archive.blobs.held([one.key for one in found]))
            parts = [self._part(one) for one in found]
            alone = is_instance and not entry.multipart
            return Streamed(parts[0] if alone else in_parts(parts), undo=undo.pop_all())

    def metadata(self, request: Request) -> Response:
        """An array of data sets, one an instance. The ETag changes with any of them."""
        demand_dicom_json(request)
        scope = scope_of(request)
        versions = [one.version for one in self._archive.instances(scope)]
        if not versions:
            return not_found(scope.level)
        etag = f"{versions[-1]}" if scope.level == "instance" else f"{versions[-1]}-{len(versions)}"
        headers = {"ETag": f'"{etag}"'}
        # Azure's ETag has no quotes: a client that learnt it there may send it so.
        if request.headers.get("if-none-match", "").strip('"') == etag:
            return Response(status_code=304, headers=headers)
        return StreamingResponse(
            _array(self._archive.metadata(versions)),
            headers=headers,
            media_type=f"{DICOM_JSON}; charset=utf-8",
        )

    def _frames(self, request: Request) -> Response:
        scope = scope_of(request)
        numbers = _frame_numbers(request.path_params["frames"])
        entries = [entry for entry in wanted(request.headers.getlist("accept")) if _is_frame(entry)]
        if not entries:
            raise RefusedError(406, _NOT_ACCEPTABLE)
        found = self._archive.instances(scope)
        if not found:
            return not_found(scope.level)
        stored = found[0].transfer_syntax
        entry = next((entry for entry in entries if _frames_as_stored(entry, stored)), None)
        if entry is None:
            raise RefusedError(406, _NOT_TRANSCODED)
        alone = entry.name == OCTET_STREAM and not entry.multipart
        if alone and len(numbers) > 1:
            raise RefusedError(400, _ONE_FRAME)
        syntax = _syntax(entry, _frame_default(entry))
        name = JPEG_2000 if entry.name == JPEG_2000 else OCTET_STREAM
        media_type = f"{name}; transfer-syntax={(stored or _ANY) if syntax == _ANY else syntax}"
        with contextlib.ExitStack() as undo:
            try:
                frames = undo.enter_context(contextlib.closing(Frames(self._archive.blobs.path(found[0].key), stored)))
                parts = [_frame(frames, spans, media_type) for spans in frames.spans(numbers)]
            except NoSuchFrameError:
                return not_found("frame")
            except InseparableError:
                raise RefusedError(406, _NOT_TRANSCODED) from None
            return Streamed(parts[0] if alone else in_parts(parts), undo=undo.pop_all())

    def _part(self, stored: StoredInstance) -> Part:
        path = self._archive.blobs.path(stored.key)
        return Part(
            media_type=f"{DICOM}; transfer-syntax={stored.transfer_syntax or _ANY}",
            length=os.stat(path).st_size,
            read=lambda: _steps(path),
        )


def _as_it_is_now(answer: Callable[[Request], Response], request: Request) -> Response:
    for _ in range(_LOOKS):
        try:
            return answer(request)
        except FileNotFoundError:  # deleted or replaced since it was looked up: look again
            continue
    return answer(request)


def _is_dicom(entry: Wanted, *, alone: bool) -> bool:
    return entry.name == "*/*" or (entry.name == DICOM and (alone or entry.multipart))


def _is_frame(entry: Wanted) -> bool:
    return entry.name in {"*/*", OCTET_STREAM} or (entry.name == JPEG_2000 and entry.multipart)


def _syntax(entry: Wanted, default: str) -> str:
    return entry.transfer_syntax or (_ANY if entry.name == "*/*" else default)


def _frame_default(entry: Wanted) -> str:
    return JPEG2000Lossless if entry.name == JPEG_2000 else ExplicitVRLittleEndian


def _as_stored(entry: Wanted, found: Sequence[StoredInstance]) -> bool:
    syntax = _syntax(entry, ExplicitVRLittleEndian)
    return syntax == _ANY or all(one.transfer_syntax == syntax for one in found)


def _frames_as_stored(entry: Wanted, stored: str) -> bool:
    syntax = _syntax(entry, _frame_default(entry))
    if entry.name == JPEG_2000:
        return syntax in {stored, _ANY} and stored == JPEG2000Lossless
    return syntax in {_ANY, stored} or (syntax == ExplicitVRLittleEndian and stored in _NATIVE)


def _frame_numbers(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if any(re.fullmatch(r"\+?[0-9]{1,10}", number) is None for number in numbers) or len(numbers) > _MOST_FRAMES:
        raise RefusedError(400, _NO_FRAMES)
    found = [int(number) for number in numbers]
    if min(found) < 1:
        raise RefusedError(400, _NO_FRAMES)
    return found


def _frame(frames: Frames, spans: Sequence[Span], media_type: str) -> Part:
    length = sum(span.length for span in spans)
    return Part(media_type=media_type, length=length, read=lambda: frames.read(spans, STEP_BYTES))


def _steps(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while step := file.read(STEP_BYTES):
            yield step


def _array(models: Iterator[str]) -> Iterator[str]:
    pending = "["
    for model in models:
        yield pending + model
        pending = ","
    yield "]" if pending == "," else "[]"
