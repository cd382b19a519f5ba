"""A web page without what would be fetched, run or read from elsewhere when it is laid out, and
without text that it hides.

Text, tables, lists and pictures that the page itself carries (``data:``) stay. LibreOffice shows
what styles hide, and a page's hidden text is how it speaks to machines behind people's backs.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
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
# Of these a reader misses what they show.
_SHOWING = frozenset(("iframe", "object", "applet", "video", "canvas", "embed", "frame"))
# A page of scripts that says less than this by itself is made by them.
_FEW_WORDS = 50
# A picture so small is a counter of visits.
_COUNTER = re.compile(r"[01](?:px)?")
# How a style hides an element, for good unless it comes in by itself, and how it shows it.
_HIDES = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|(?:font-size|opacity)\s*:\s*0*\.?0+(?![.\d])",
    re.IGNORECASE,
)
_COMES_IN = re.compile(r"animation", re.IGNORECASE)
_SHOWS = re.compile(
    r"display\s*:\s*(?!none)[a-z]|visibility\s*:\s*visible|opacity\s*:\s*(?:1|0?\.0*[1-9])",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)
# An element by its classes or its identifier (".a", "p.a.b", "#c"), whatever is around it.
_SELECTOR = re.compile(r"[\w-]*((?:[.#][\w-]+)+)")
_NAME = re.compile(r"[.#][\w-]+")
# Elements whose end need not be written: the next of the kind ends them; a block ends a paragraph.
_UNENDED = frozenset(("p", "li", "dt", "dd", "tr", "td", "th", "option"))
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "div", "dl", "fieldset", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p"),
        *("pre", "section", "table", "ul"),
    )
)
# Elements that go alone: each of them points elsewhere.
_POINTERS = frozenset(("link", "base", "meta", "embed", "frame", "frameset", "source", "track"))
_VOID = frozenset(("area", "br", "col", "hr", "img", "input", "wbr"))
_ENDLESS = _VOID | {"base", "embed", "frame", "link", "meta", "param", "source", "track"}
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
    cleaner = _read(page)
    title = html.escape(" ".join("".join(cleaner.title).split()))
    head = f'<head><meta charset="utf-8"><title>{title}</title></head>'
    body = "".join(cleaner.out)
    return f"<!DOCTYPE html>\n<html>{head}<body>{body}</body></html>\n".encode()


def left_out(page: bytes) -> tuple[str, ...]:
    """Flags of what a person sees on ``page``, or does not see, and is not in it ``cleaned``."""
    cleaner = _read(page)
    made = cleaner.scripts and cleaner.words < _FEW_WORDS
    parts = ("parts-left-out",) if cleaner.lacking or made else ()
    return (*parts, "hidden-text") if cleaner.hidden_words else parts


def _read(page: bytes) -> _Cleaner:
    cleaner = _Cleaner()
    cleaner.feed(_decoded(page))
    cleaner.close()
    return cleaner


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
        # Whether something that shows is missing, and how many words stayed and were hidden.
        self.lacking = False
        self.scripts = False
        self.words = 0
        self.hidden_words = 0
        self._inside: list[str] = []
        self._in_title = False
        # What is open of an element that is hidden, from that on.
        self._hidden: list[str] = []
        # By all names that an element must have, found by one of them: whether that hides it.
        self._hides: dict[str, dict[frozenset[str], bool]] = {}
        self._open: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        if tag == "body":
            self._inside = []  # a head that was never closed
            return
        if self._inside == ["head"] and tag not in _OF_HEAD:
            self._inside = []
        if self._inside:
            self.lacking |= self._inside[0] == "svg" and tag == "text"
            if tag == self._inside[-1] or (self._inside == ["head"] and tag == "style"):
                self._inside.append(tag)
            self.scripts |= tag == "script"
            return
        if self._stays_hidden(tag, dict(attrs)):
            return
        self.scripts |= tag == "script"
        self.lacking |= tag in _SHOWING or (tag == "img" and _is_elsewhere(dict(attrs)))
        if tag in _DROPPED:
            self._inside.append(tag)
        elif tag not in _POINTERS and tag != "html":
            self.out.append(f"<{tag}{_attributes(tag, attrs)}>")
            self._open[tag] += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            return
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def _stays_hidden(self, tag: str, attributes: dict[str, str | None]) -> bool:
        """Whether the element that begins is hidden, or within one that is."""
        if self._hidden:
            ended = tag in _UNENDED and self._hidden == [tag]
            if ended or (self._hidden[0] == "p" and tag in _BLOCKS):
                self._hidden = []
        # A page that is hidden as a whole waits for its scripts.
        if not self._hidden and (tag == "html" or not self._hides_itself(attributes)):
            return False
        if tag not in _ENDLESS:
            self._hidden.append(tag)
        return True

    def _hides_itself(self, attributes: dict[str, str | None]) -> bool:
        style = attributes.get("style") or ""
        if "hidden" in attributes or _HIDES.search(style):
            return True
        if _SHOWS.search(style):
            return False
        names = {f".{name}" for name in (attributes.get("class") or "").split()}
        names.add(f"#{attributes.get('id')}")
        # The rule that asks for most names has the last word, as for browsers.
        rules = (
            (len(asked), hides)
            for name in names
            for asked, hides in self._hides.get(name, {}).items()
            if asked <= names
        )
        return max(rules, default=(0, False))[1]

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._inside:
            if tag == self._inside[-1]:
                self._inside.pop()
            return
        if self._hidden:
            if tag in self._hidden:
                while self._hidden.pop() != tag:
                    pass
                return
            if not self._open[tag]:
                return
            self._hidden = []  # the end of what is around it
        if tag not in _POINTERS | _VOID | {"html", "body"}:
            self.out.append(f"</{tag}>")
            self._open[tag] -= self._open[tag] > 0

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif self._inside:
            if self._inside[-1] == "style":
                for names, hides in _rules(data):
                    self._hides.setdefault(min(names), {})[names] = hides
        elif self._hidden:
            if _DROPPED.isdisjoint(self._hidden):
                self.hidden_words += len(data.split())
        else:
            self.words += len(data.split())
            self.out.append(html.escape(data, quote=False))


def _rules(style: str) -> Iterator[tuple[frozenset[str], bool]]:
    """The rules of ``style`` that hide or show elements: the classes and identifiers (".a", "#b")
    that they must have, and whether it hides them. What holds for some screens only (@media), or
    below another rule, says nothing."""
    # Brace by brace: a pattern for whole rules takes hours for a style that has none.
    parts = re.split(r"([{}])", _COMMENT.sub("", style))
    depth, head = 0, ""
    for text, brace in zip(parts[::2], parts[1::2], strict=False):
        if brace == "{":
            head = text.rpartition(";")[2].strip() if not depth else head
            depth += 1
            continue
        if depth == 1 and not head.startswith("@"):
            hides = bool(_HIDES.search(text)) and not _COMES_IN.search(text)
            if hides or _SHOWS.search(text):
                for name in head.split(","):
                    if match := _SELECTOR.fullmatch(name.strip()):
                        yield frozenset(_NAME.findall(match[1])), hides
        depth = max(0, depth - 1)


def _is_elsewhere(attributes: dict[str, str | None]) -> bool:
    """Whether an ``img`` shows what the page does not carry."""
    sides = (attributes.get("width") or "", attributes.get("height") or "")
    source = attributes.get("src") or attributes.get("srcset")
    is_counter = any(_COUNTER.fullmatch(side) for side in sides)
    return bool(source) and not is_counter and not _OWN_PICTURE.match(source or "")


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
