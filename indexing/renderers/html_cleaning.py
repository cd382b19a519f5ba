"""A web page without what would be fetched, run or read from elsewhere when it is laid out.

Text, tables, lists and pictures that the page itself carries (``data:``) stay.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

# Elements that go with all they hold.
_DROPPED = frozenset(
    (
        *("script", "style", "iframe", "object", "applet", "noscript", "template", "audio"),
        *("video", "canvas", "svg", "head"),
    )
)
# All that a head may hold: its end, and the body's beginning, need not be written.
_OF_HEAD = frozenset(
    ("title", "base", "link", "meta", "style", "script", "noscript", "template", "head")
)
# Pictures that a page carries. SVG is not among them: it is a document that may point elsewhere.
_OWN_PICTURE = re.compile(r"data:image/(?:png|jpe?g|gif|bmp|webp|tiff)[;,]", re.IGNORECASE)
# Elements that go alone: each of them points elsewhere.
_POINTERS = frozenset(("link", "base", "meta", "embed", "frame", "frameset", "source", "track"))
_VOID = frozenset(("area", "br", "col", "hr", "img", "input", "wbr"))
# Attributes that name something to load.
_LOADING = frozenset(
    (
        *("src", "srcset", "background", "data", "poster", "longdesc", "lowsrc", "dynsrc"),
        *("action", "formaction", "code", "codebase", "classid", "archive", "profile"),
    )
)
# A style with one of these may load something, or hides what it does.
_STYLE_LOADS = re.compile(r"url|import|expression|image|[\\@]|/\*", re.IGNORECASE)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)
_CHARSET_WITHIN = 4096


def cleaned(page: bytes) -> bytes:
    """``page`` as UTF-8 HTML that loads nothing."""
    cleaner = _Cleaner()
    cleaner.feed(_decoded(page))
    cleaner.close()
    title = html.escape(" ".join("".join(cleaner.title).split()))
    head = f'<head><meta charset="utf-8"><title>{title}</title></head>'
    body = "".join(cleaner.out)
    return f"<!DOCTYPE html>\n<html>{head}<body>{body}</body></html>\n".encode()


def _decoded(page: bytes) -> str:
    """By its mark, by what it says of itself, as UTF-8, or as what browsers then assume."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if page.startswith(mark):
            return page.decode(name, "replace").lstrip("\ufeff")
    said = _CHARSET.search(page[:_CHARSET_WITHIN])
    for name in (said[1].decode("ascii", "replace") if said else "", "utf-8"):
        try:
            return page.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return page.decode("cp1252", "replace")


class _Cleaner(HTMLParser):
    """Writes what it is fed again, without what is not wanted."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.title: list[str] = []
        self._inside: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        if tag == "body":
            self._inside = []  # a head that was never closed
            return
        if self._inside == ["head"] and tag not in _OF_HEAD:
            self._inside = []
        if self._inside:
            if tag == self._inside[-1]:
                self._inside.append(tag)
            return
        if tag in _DROPPED:
            self._inside.append(tag)
        elif tag not in _POINTERS and tag != "html":
            self.out.append(f"<{tag}{_attributes(tag, attrs)}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            return
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._inside:
            if tag == self._inside[-1]:
                self._inside.pop()
            return
        if tag not in _POINTERS | _VOID | {"html", "body"}:
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._inside:
            self.out.append(html.escape(data, quote=False))


def _attributes(tag: str, attrs: list[tuple[str, str | None]]) -> str:
    kept = []
    for name, value in attrs:
        own_picture = tag == "img" and name == "src" and _OWN_PICTURE.match(value or "")
        if name.startswith("on") or (name in _LOADING and not own_picture) or ":" in name:
            continue
        if not re.fullmatch(r"[\w-]+", name) or (
            name == "style" and _STYLE_LOADS.search(value or "")
        ):
            continue
        kept.append(f' {name}="{html.escape(value or "")}"')
    return "".join(kept)
