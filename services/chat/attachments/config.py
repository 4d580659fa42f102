"""Settings of attachments."""

from __future__ import annotations

from pydantic import Field, FilePath

from services.host import ServiceSettings
from services.runtime.config import Address, Seconds, Words

MIB = 1024 * 1024


class AttachmentSettings(ServiceSettings):
    """What attachments can be told."""

    attachment_bucket: str = Field("tradewind-attachments", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The bucket of the object store that holds their bytes; made where it is not there."""
    attachment_replicas: int = Field(1, ge=1, le=5)
    """Copies of a bucket that is made."""
    attachment_bucket_bytes: int = Field(-1, ge=-1)
    """Most bytes of a bucket that is made; when it is full, uploads are refused. -1: what the log's servers hold."""
    attachment_bytes: int = Field(100 * MIB, ge=1)
    """Largest attachment."""
    attachment_day_bytes: int = Field(2048 * MIB, ge=1)
    """What one user may upload in 24 hours; each upload counts as 64 KiB at least."""
    attachment_open_uploads: int = Field(16, ge=1, le=1000)
    """Uploads of one user that are not complete."""
    attachment_types: Words = (
        "image/*", "audio/*", "video/*", "text/*", "font/*", "application/pdf", "application/json", "application/xml",
        "application/zip", "application/gzip", "application/rtf", "application/msword",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.spreadsheet",
        "application/octet-stream",
    )  # fmt: skip
    """Types by content that are taken, as type/subtype or type/*."""
    attachment_transfers: int = Field(256, ge=1)
    """Uploads and downloads under way in this process, each with up to a mebibyte of memory, and as many by HTTP; more are refused as
    OVERLOADED."""
    attachment_caller_transfers: int = Field(16, ge=1)
    """Of those by gRPC, what one user may have under way."""
    attachment_keep_unsent: Seconds = Field(24 * 3600.0, gt=0)
    """An upload that is not complete so long after it began, or not sent so long after it was complete, is deleted."""
    attachment_grace: Seconds = Field(3600.0, ge=0)
    """What no message names is deleted so long after that was found, if it is so still. Longer than any send, or stream of an upload."""
    attachment_sweep: Seconds = Field(600.0, gt=0)
    """How often it is looked for what no message names."""
    attachment_stream: Seconds = Field(1800.0, gt=0)
    """A stream of an upload is ended after so long; its client goes on with another."""

    picture_pixels: int = Field(50_000_000, ge=1)
    """Points that a picture may have."""
    picture_bytes: int = Field(32 * MIB, ge=1)
    """Larger pictures get no thumbnails."""
    picture_memory: int = Field(1024 * MIB, ge=256 * MIB)
    """Memory that the drawing of one may take."""
    picture_seconds: Seconds = Field(20.0, gt=0)
    """Time that it may take."""
    picture_processes: int = Field(2, ge=1, le=64)
    """Pictures drawn at a time."""

    attachment_key_file: FilePath | None = None
    """Secret that download links are signed with, as hexadecimal text of at least 32 bytes; several lines: the first signs, all verify.
    Without it there are no links, and nothing is served by HTTP."""
    attachment_listen: Address = "127.0.0.1:0"
    """Where downloads are served by HTTP."""
    attachment_url: str = Field("http://127.0.0.1:8081", pattern=r"^https?://[^\s\"'<>]+$")
    """How people's browsers, or a CDN, reach it."""
    attachment_link_lasts: Seconds = Field(3600.0, ge=1)
    """A link can be used at least so long, and at most twice as long: meanwhile the same link is given again, so that it can be cached."""
    attachment_link_cache: str = Field("private", pattern="^(public|private)$")
    """Who may keep what a link gives until it expires: only the browser, or also a CDN in between."""
