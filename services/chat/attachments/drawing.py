"""Draws the thumbnails of a picture: a program of its own, since pictures come from anybody and a decoder may fail in any way.

Reads the picture from standard input, with ``FORMAT PIXELS BYTES SIZE…`` as arguments: what it is, how many points it may have, how much
memory may be used, and the sizes wanted. Writes a line of JSON (``width``, ``height``, ``thumbnails`` as pairs of size and length; or
``refused``), then the thumbnails one after the other: WebP where there is transparency, else JPEG. Run with ``python -I``; needs Pillow
alone.
"""

from __future__ import annotations

import io
import json
import sys
import warnings

from PIL import Image, ImageOps

CPU_SECONDS = 20
QUALITY = 82


def main() -> None:
    """Do it."""
    kind, pixels, memory, *sizes = sys.argv[1:]
    limit(int(memory))
    Image.MAX_IMAGE_PIXELS = int(pixels)
    # Pillow only warns up to twice the limit.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        answer, drawn = draw(sys.stdin.buffer.read(), kind, [int(size) for size in sizes])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        answer, drawn = {"refused": "pixels"}, []
    except (OSError, ValueError, SyntaxError, MemoryError, ArithmeticError, KeyError, IndexError, TypeError):
        # What Pillow raises for damaged files is any of these.
        answer, drawn = {"refused": "damaged"}, []
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + b"".join(drawn))


def draw(data: bytes, kind: str, sizes: list[int]) -> tuple[dict[str, object], list[bytes]]:
    """Measure a picture as it is to be shown, and draw its thumbnails, largest first made from the picture, the rest from that one."""
    with Image.open(io.BytesIO(data), formats=[kind]) as opened:
        turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        width, height = reversed(opened.size) if turned else opened.size
        opened.draft("RGB", (max(sizes) * 2, max(sizes) * 2))
        picture: Image.Image = ImageOps.exif_transpose(opened)
        has_alpha = picture.has_transparency_data
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    thumbnails, drawn = [], []
    for size in sorted(sizes, reverse=True):
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
        # A new picture has the points and nothing else: no EXIF, no profile, no comment.
        bare = Image.new(picture.mode, picture.size)
        bare.paste(picture)
        out = io.BytesIO()
        bare.save(out, "WEBP" if has_alpha else "JPEG", quality=QUALITY)
        thumbnails.append((size, out.tell()))
        drawn.append(out.getvalue())
    return {"width": width, "height": height, "thumbnails": thumbnails}, drawn


def limit(memory: int) -> None:
    """Bound this process's memory and time, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    main()
