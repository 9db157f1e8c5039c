"""Files that are two things at once, and files that point at others: on this machine, or on its network."""

import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO
from random import Random

from tests.hostile import crafted
from tests.hostile.forms import recording
from tests.hostile.hostile import ACCEPTED, ANY, UNSUPPORTED, Bait, Hostile
from tests.media import jpeg, png

_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
_HTML = b"<!doctype html><script>fetch('/v1/jobs')</script>\n"
_SHELL = b"#!/bin/sh\ntouch written-by-a-script\n"


def make(chance: Random, bait: Bait, scale: int) -> Iterator[Hostile]:
    """Every file of this module's kinds."""
    yield from _polyglots()
    yield from _playlists(bait)
    yield from _references(bait)


def _zip() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # A date of its own would make each corpus another.
        archive.writestr(zipfile.ZipInfo("../../written.txt"), b"outside")
    return file.getvalue()


def _polyglots() -> Iterator[Hostile]:
    faces = {
        "zip": _zip(),
        "pdf": _PDF,
        "html": _HTML,
        "shell": _SHELL,
        "png": png(),
        "jpeg": jpeg(),
        "gif": b"GIF89a" + bytes(40),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
        "java": b"\xca\xfe\xba\xbe\0\0\0\x34",
        "gzip": b"\x1f\x8b\x08\0" + bytes(20),
        "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "json": b'{"ready": true}\n{"probe": {"container": "wav"}}\n',
    }
    known = {"zip", "pdf", "png", "jpeg", "gif", "gzip"}
    for face, content in faces.items():
        for form in ("wav", "mp3", "ogg_opus", "flac", "m4a", "webm"):
            may = frozenset({UNSUPPORTED}) if face in known else ANY
            yield Hostile("polyglots", f"{face} before {form}", content + recording(form), may)
        for form in ("wav", "ogg_opus", "m4a"):
            yield Hostile("polyglots", f"{form} before {face}", recording(form) + content)
    for form in ("wav", "m4a"):
        inside = recording(form)[:40] + _zip() + recording(form)[40:]
        yield Hostile("polyglots", f"zip within {form}", inside)


def _playlists(bait: Bait) -> Iterator[Hostile]:
    targets = {
        "http": bait.url,
        "file": f"file://{bait.path}",
        "path": bait.path,
        "concat": f"concat:{bait.path}|{bait.path}",
        "subfile": f"subfile,,start,0,end,100,,:{bait.path}",
        "crypto": f"crypto:{bait.path}",
        "cache": f"cache:{bait.path}",
        "async": f"async:{bait.url}",
        "tcp": bait.url.replace("http://", "tcp://"),
    }
    for scheme, target in targets.items():
        lists = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
            "m3u8 key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:5,\n{target}\n',
            "m3u8 with a mark": f"\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n",
            "concat": f"ffconcat version 1.0\nfile '{target}'\n",
            "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\na=control:{target}\nm=audio 9 RTP/AVP 0\n",
            "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            f'<AdaptationSet mimeType="audio/mp4"><Representation id="1"><BaseURL>{target}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>",
            "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
            "asx": f'<ASX version="3.0"><Entry><Ref href="{target}"/></Entry></ASX>',
            "xspf": f"<playlist><trackList><track><location>{target}</location></track></trackList></playlist>",
            "smil": f'<smil><body><audio src="{target}"/></body></smil>',
            "rtsp": f"rtsptext\n{target}\n",
            "bare": f"{target}\n",
        }
        for name, text in lists.items():
            yield Hostile("playlists", f"{name} to {scheme}", text.encode(), frozenset({UNSUPPORTED}))


def _references(bait: Bait) -> Iterator[Hostile]:
    """Recordings whose sound is said to lie elsewhere."""
    content = recording("m4a_faststart")
    for name, target in (("http", bait.url), ("file", f"file://{bait.path}")):
        yield Hostile("references", f"dref url to {name}", _with_dref(content, _url(target)))
        yield Hostile("references", f"dref urn to {name}", _with_dref(content, _url(target, kind=b"urn ")))
        movie = crafted.box(b"rmda", crafted.box(b"rdrf", bytes(4) + b"url " + _text(target)))
        reference = crafted.box(b"moov", crafted.box(b"rmra", movie))
        head = crafted.box(b"ftyp", b"qt  " + bytes(8))
        yield Hostile("references", f"reference movie to {name}", head + reference, ANY - {ACCEPTED})
        linked = crafted.element("3c83ab", target.encode()) + crafted.element("3eb923", bytes(16))
        info = crafted.element("1549a966", linked)
        mkv = crafted.element("1a45dfa3", crafted.element("4282", b"matroska")) + crafted.element("18538067", info)
        yield Hostile("references", f"linked segment to {name}", mkv, ANY - {ACCEPTED})
        frame = crafted.id3_frame(b"LINK", b"APIC" + target.encode() + b"\0")
        cover = crafted.id3_frame(b"APIC", b"\0-->\0\x03\0" + target.encode())
        yield Hostile("references", f"id3 link to {name}", crafted.id3(frame + cover) + recording("mp3"))
        page = crafted.id3_frame(b"WXXX", b"\0\0" + target.encode())
        yield Hostile("references", f"id3 page to {name}", crafted.id3(page) + recording("mp3"))
    for kind in (0, 2, 9, 14, 18):
        yield Hostile("references", f"dref alias {kind}", _with_dref(content, _alias(bait.path, kind)))


def _text(text: str) -> bytes:
    return struct.pack(">I", len(text) + 1) + text.encode() + b"\0"


def _url(target: str, *, kind: bytes = b"url ") -> bytes:
    return crafted.box(kind, bytes(4) + target.encode() + b"\0")


def _alias(path: str, kind: int) -> bytes:
    name = path.rpartition("/")[2].encode()[:63]
    record = bytes(10) + b"\x01v" + bytes(26) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 1) + bytes(16) + struct.pack(">hh", kind, len(path)) + path.encode()
    return crafted.box(b"alis", bytes(4) + record + bytes(len(path) % 2) + struct.pack(">hh", -1, 0))


def _with_dref(content: bytes, entry: bytes) -> bytes:
    """The recording, its sound referred to by another entry; all boxes around it grow."""
    at = content.index(b"dref") - 4
    (length,) = struct.unpack_from(">I", content, at)
    new = crafted.box(b"dref", struct.pack(">II", 0, 1) + entry)
    grown = bytearray(content[:at] + new + content[at + length :])
    for name in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = content.index(name) - 4
        (old,) = struct.unpack_from(">I", grown, place)
        struct.pack_into(">I", grown, place, old + len(new) - length)
    return bytes(grown)
