"""What a file is by its content, and what HTTP says of it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.chat.attachments import answers
from services.chat.attachments.content import PROGRAM, TEXT, UNKNOWN, Sniffer, allowed
from services.chat.attachments.links import Links, UnusableKey
from services.chat.attachments.transfers import Transfers
from services.runtime.errors import Refused


def told(data: bytes, declared: str = "", piece: int = 7) -> str:
    sniffer = Sniffer()
    for at in range(0, len(data), piece):
        sniffer.take(data[at : at + piece])
    return sniffer.media_type(declared)


def drawn(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 5)).save(out, kind)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"\x00\xff")
    return out.getvalue()


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("data", "declared", "found"),
    [
        (drawn("PNG"), "", "image/png"),
        (drawn("JPEG"), "application/pdf", "image/jpeg"),
        (drawn("GIF"), "image/png", "image/gif"),
        (drawn("WEBP"), "", "image/webp"),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n", "", "application/pdf"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isom\xff", "", "video/mp4"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb", "audio/mpeg", "audio/mpeg"),
        (zipped(), "", "application/zip"),
        (zipped(), DOCX, DOCX),
        (zipped(), "text/html", "application/zip"),
        (b"MZ\x90\x00\x03\x00\xff", "image/png", PROGRAM),
        (b"\x7fELF\x02\x01\xff", "", PROGRAM),
        (b"#!/bin/sh\nrm x", "text/plain", PROGRAM),
        (b"\xff\x00\x9a\x1c" * 9, "image/png", UNKNOWN),
        (b"BM are my initials", "image/bmp", TEXT),
        (b"words", "text/markdown", "text/markdown"),
        (b'{"a": 1}', "application/json", "application/json"),
        (b"words", "text/html", TEXT),
        (b"\xef\xbb\xbf<!-- x -->\n<!DOCTYPE HTML><p>", "text/plain", "text/html"),
        (b" <SVG onload='x'/>", "image/png", "image/svg+xml"),
        ("cut at the end: ü".encode()[:-1], "", UNKNOWN),
        (b"a null\x00byte", "text/plain", UNKNOWN),
    ],
)
def test_types_by_content(data: bytes, declared: str, found: str) -> None:
    assert told(data, declared) == told(data, declared, piece=100_000) == found


@pytest.mark.parametrize("piece", [b"<!---->", b"<?xml?>", b"<!DOCTYPE svg>", b"<!---->\n", b"<!--", b" "])
@pytest.mark.parametrize("end", [b"", b"x", b"<svg", b"<a"])
def test_what_stands_before_a_picture_is_looked_at_once(piece: bytes, end: bytes) -> None:
    """Each of these took 2**n steps where it can be cut in several ways, and a process of Chat stood still for all of them."""
    assert told(piece * 24 + end, piece=100_000) == TEXT
    assert told(piece * 580 + end, piece=100_000) == TEXT


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_bytes_are_something(data: bytes, declared: str) -> None:
    assert "/" in told(data, declared)


def test_types_that_are_taken() -> None:
    assert allowed("image/png", ("image/*",))
    assert allowed("text/plain", ("text/plain",))
    assert allowed("x/y", ("*/*",))
    assert not allowed("image/png", ("text/*", "image/jpeg"))


@given(st.text(max_size=80), st.sampled_from(["image/png", "text/html", "audio/ogg", "image/svg+xml"]))
def test_names_cannot_leave_their_header(name: str, media_type: str) -> None:
    said = answers.disposition(media_type, name)
    assert said.isascii()
    assert said.isprintable()
    assert said.count('"') == 2
    assert "/" not in said
    assert "\\" not in said
    assert said.startswith("inline" if media_type in ("image/png", "audio/ogg") else "attachment")


@given(st.text(max_size=30), st.integers(1, 1000))
def test_any_range_is_answered(wanted: str, size: int) -> None:
    for header in (wanted, f"bytes={wanted}"):
        try:
            part = answers.part({"Range": header}, '"tag"', size)
        except answers.Unsatisfiable:
            continue
        assert part is None or (0 <= part[0] < size and 0 < part[1] <= size - part[0])


@given(st.integers(0, 2_000), st.integers(0, 2_000))
def test_ranges(first: int, last: int) -> None:
    data = bytes(1000)
    try:
        part = answers.part({"Range": f"bytes={first}-{last}"}, '"t"', len(data))
    except answers.Unsatisfiable:
        assert first >= len(data)
        return
    if last < first:
        assert part is None
    else:
        assert part == (first, min(last, 999) - first + 1)


def test_links_stay_the_same_for_a_while() -> None:
    links = Links("https://cdn.example/", [b"k" * 32], 100)
    made, expires = links.make("acme", "0190", 160, 1_000_000)
    assert links.make("acme", "0190", 160, 1_000_099) == (made, expires)
    assert links.make("acme", "0190", 160, 1_000_100) != (made, expires)
    assert 100 <= expires - 1_000_099 <= expires - 1_000_000 <= 200
    token = made.removeprefix("https://cdn.example/a/")
    found = links.read(token, expires - 1)
    assert found is not None
    assert (found.tenant, found.attachment_id, found.thumbnail, found.expires) == ("acme", "0190", 160, expires)
    assert links.read(token, expires) is None
    assert Links("", [b"n" * 32, b"k" * 32], 100).read(token, 0) == found
    assert Links("", [b"n" * 32], 100).read(token, 0) is None


@given(st.text(max_size=60))
def test_no_other_text_is_a_link(token: str) -> None:
    assert Links("", [b"k" * 32], 100).read(token, 0) is None


@pytest.mark.parametrize("text", ["", "xyz", "ab" * 31, "ü"])
def test_keys_that_are_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnusableKey):
        Links.from_file("", path, 60)


def test_one_caller_cannot_take_all_room() -> None:
    transfers = Transfers(3, 2)
    with transfers.one("ann"), transfers.one("ann"):
        with pytest.raises(Refused) as refused, transfers.one("ann"):
            pass
        assert (refused.value.reason, refused.value.retry_after) == ("OVERLOADED", 1.0)
        with transfers.one("bob"), pytest.raises(Refused), transfers.one("cy"):
            pass
        assert transfers.under_way == 2
    assert transfers.under_way == 0
