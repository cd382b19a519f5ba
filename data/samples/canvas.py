"""A small drawing layer over PyMuPDF: running text, tables and charts with even typography.

Only the fonts that come inside MuPDF are used, so the same version of it draws the same bytes
on every machine. Units are PDF points, y grows downwards, text is placed by its baseline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pymupdf

Colour = tuple[float, float, float]
# A line of running text: each word with its font, its size and its width.
Line = list[tuple[str, pymupdf.Font, float, float]]

INK: Colour = (0.13, 0.14, 0.17)
MUTED: Colour = (0.42, 0.44, 0.49)
RULE: Colour = (0.80, 0.81, 0.84)
WHITE: Colour = (1.0, 1.0, 1.0)

# Family -> (regular, bold, italic), by MuPDF's names for the fonts it carries.
FAMILIES = {
    "sans": ("helv", "hebo", "heit"),
    "serif": ("tiro", "tibo", "tiit"),
    "mono": ("cour", "cobo", "coit"),
}
_FONTS: dict[str, pymupdf.Font] = {}
_MARKUP = re.compile(r"(\*\*.+?\*\*|_[^_]+?_|`[^`]+?`)")


def rgb(code: str) -> Colour:
    """``"1f6f78"`` as three fractions."""
    return tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[return-value]


def font(family: str, style: int = 0) -> pymupdf.Font:
    """The font of a family; style 0 regular, 1 bold, 2 italic."""
    name = FAMILIES[family][style]
    if name not in _FONTS:
        _FONTS[name] = pymupdf.Font(name)
    return _FONTS[name]


def width_of(text: str, face: pymupdf.Font, size: float) -> float:
    return float(face.text_length(text, fontsize=size))


class Canvas:
    """One page under the pen. Call ``finish`` when it is done."""

    def __init__(self, doc: pymupdf.Document, width: float, height: float) -> None:
        self.page = doc.new_page(width=width, height=height)
        self.width, self.height = width, height
        self._writer = pymupdf.TextWriter(self.page.rect)
        self._colour: Colour = INK

    def finish(self) -> None:
        """Put the last text on the page."""
        self._flush()

    def _flush(self) -> None:
        # Text goes out whenever the colour changes, so it is stored in the order it was drawn.
        if self._writer.text_rect.is_empty:
            return
        self._writer.write_text(self.page, color=self._colour)
        self._writer = pymupdf.TextWriter(self.page.rect)

    # ---- text -------------------------------------------------------------------------------
    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 10,
        family: str = "sans",
        style: int = 0,
        colour: Colour = INK,
        align: str = "left",
    ) -> float:
        """One line with its baseline at y; x is its left end, middle or right end. Returns the
        width."""
        face = font(family, style)
        width = width_of(text, face, size)
        if align == "right":
            x -= width
        elif align == "centre":
            x -= width / 2
        if colour != self._colour:
            self._flush()
            self._colour = colour
        if text:
            self._writer.append((x, y), text, font=face, fontsize=size)
        return width

    def paragraph(
        self,
        x: float,
        y: float,
        width: float,
        text: str,
        *,
        size: float = 10,
        leading: float = 1.42,
        family: str = "sans",
        colour: Colour = INK,
        justify: bool = False,
        indent: float = 0,
    ) -> float:
        """Wrapped text with ``**bold**``, ``_italic_`` and ```code```; y is the top. Returns the
        y below it."""
        lines = wrap(text, width, size=size, family=family, indent=indent)
        self.lines(
            x,
            y,
            width,
            lines,
            size=size,
            leading=leading,
            colour=colour,
            justify=justify,
            family=family,
            indent=indent,
        )
        return y + len(lines) * size * leading

    def lines(
        self,
        x: float,
        y: float,
        width: float,
        lines: Sequence[Line],
        *,
        size: float,
        leading: float = 1.42,
        family: str = "sans",
        colour: Colour = INK,
        justify: bool = False,
        indent: float = 0,
        last: bool = True,
    ) -> None:
        """Lines that ``wrap`` made; ``last`` says that the paragraph ends with them."""
        space = width_of(" ", font(family), size)
        if colour != self._colour:
            self._flush()
            self._colour = colour
        baseline = y + size * (0.5 + leading / 2) - size * 0.22
        for number, line in enumerate(lines):
            at = x + (indent if number == 0 else 0)
            gap = space
            ends = last and number == len(lines) - 1
            if justify and not ends and len(line) > 1:
                slack = width - (at - x) - sum(w[3] for w in line) - space * (len(line) - 1)
                if slack < space * 2.2 * (len(line) - 1):
                    gap = space + slack / (len(line) - 1)
            if gap == space:
                self._plain_line(at, baseline, line, space)
            else:
                for word, face, word_size, advance in line:
                    self._writer.append((at, baseline), word, font=face, fontsize=word_size)
                    at += advance + gap
            baseline += size * leading

    def _plain_line(
        self,
        x: float,
        y: float,
        line: Line,
        space: float,
    ) -> None:
        for number, (word, face, size, advance) in enumerate(line):
            last = number == len(line) - 1
            # A real space goes with the word, so that the text copies out with its spaces.
            self._writer.append((x, y), word if last else word + " ", font=face, fontsize=size)
            x += advance + space

    def bullets(
        self,
        x: float,
        y: float,
        width: float,
        items: Sequence[str],
        *,
        size: float = 10,
        family: str = "sans",
        gap: float = 3,
        numbered: bool = False,
        colour: Colour = INK,
    ) -> float:
        """A list; returns the y below it."""
        for number, item in enumerate(items, 1):
            mark = f"{number}." if numbered else "•"
            self.text(x, y + size * 0.99, mark, size=size, family=family, colour=colour)
            left = size * 1.5
            y = self.paragraph(
                x + left, y, width - left, item, size=size, family=family, colour=colour
            )
            y += gap
        return y

    def code(self, x: float, y: float, width: float, source: str, *, size: float = 8.6) -> float:
        """A block of code on a tinted ground; returns the y below it."""
        lines = source.strip("\n").split("\n")
        height = len(lines) * size * 1.4 + 14
        self.box(x, y, width, height, fill=rgb("f3f4f6"))
        self.box(x, y, 2.5, height, fill=rgb("9aa3b2"))
        for number, line in enumerate(lines):
            self.text(x + 12, y + 7 + size + number * size * 1.4, line, size=size, family="mono")
        return y + height + 10

    # ---- shapes -----------------------------------------------------------------------------
    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Colour | None = None,
        line: Colour | None = None,
        thick: float = 0.8,
        radius: float | None = None,
    ) -> None:
        """A rectangle; ``radius`` is a fraction of its shorter side."""
        rect = pymupdf.Rect(x, y, x + width, y + height)
        if radius is not None:
            radius = min(0.5, radius * max(width, height) / min(width, height))
        self.page.draw_rect(rect, color=line, fill=fill, width=thick if line else 0, radius=radius)

    def rule(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        colour: Colour = RULE,
        thick: float = 0.6,
        dashes: str | None = None,
    ) -> None:
        self.page.draw_line((x0, y0), (x1, y1), color=colour, width=thick, dashes=dashes)

    def arrow(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        colour: Colour = MUTED,
        thick: float = 1.4,
    ) -> None:
        """A straight arrow, along x or y."""
        self.rule(x0, y0, x1, y1, colour=colour, thick=thick)
        head = 3.2 * thick
        if x0 == x1:
            back = -head if y1 > y0 else head
            tip = [(x1, y1), (x1 - head * 0.6, y1 + back), (x1 + head * 0.6, y1 + back)]
        else:
            back = -head if x1 > x0 else head
            tip = [(x1, y1), (x1 + back, y1 - head * 0.6), (x1 + back, y1 + head * 0.6)]
        self.page.draw_polyline(tip, color=colour, fill=colour, width=0.4, closePath=True)

    def table(
        self,
        x: float,
        y: float,
        widths: Sequence[float],
        rows: Sequence[Sequence[str]],
        *,
        size: float = 9,
        row_height: float = 17,
        aligns: str = "",
        strong: Sequence[int] = (),
        accent: Colour = INK,
        family: str = "sans",
    ) -> float:
        """A table whose first row is its head. ``aligns`` has l, r or c for each column;
        ``strong`` numbers the rows (head = 0) that are sums. Returns the y below it."""
        aligns = aligns or "l" + "r" * (len(widths) - 1)
        total = sum(widths)
        baseline = row_height / 2 + size * 0.36
        for number, row in enumerate(rows):
            head, bold = number == 0, number in strong
            if bold:
                self.rule(x, y, x + total, y, colour=MUTED)
            left = x
            for cell, width, align in zip(row, widths, aligns, strict=True):
                self._cell(
                    left,
                    y + baseline,
                    width,
                    cell,
                    align,
                    size,
                    family,
                    head or bold,
                    accent if head else INK,
                )
                left += width
            y += row_height
            self.rule(
                x, y, x + total, y, colour=accent if head else RULE, thick=1.0 if head else 0.4
            )
        return y

    def _cell(
        self,
        x: float,
        y: float,
        width: float,
        text: str,
        align: str,
        size: float,
        family: str,
        bold: bool,
        colour: Colour,
    ) -> None:
        style = 1 if bold else 0
        place = {
            "l": (x + 3, "left"),
            "r": (x + width - 3, "right"),
            "c": (x + width / 2, "centre"),
        }
        at, word = place[align]
        self.text(at, y, text, size=size, family=family, style=style, colour=colour, align=word)


def wrap(
    text: str, width: float, *, size: float, family: str = "sans", indent: float = 0
) -> list[Line]:
    """The lines of a paragraph that is ``width`` wide."""
    space = width_of(" ", font(family), size)
    lines: list[Line] = [[]]
    room, used = width - indent, 0.0
    for word in _styled_words(text, family, size):
        gap = space if lines[-1] else 0.0
        if lines[-1] and used + gap + word[3] > room:
            lines.append([])
            room, used, gap = width, 0.0, 0.0
        lines[-1].append(word)
        used += gap + word[3]
    return lines


def _styled_words(text: str, family: str, size: float) -> Line:
    """Words with the font, size and width of each; one word never mixes styles but for its
    trailing punctuation, which follows the style of the word."""
    words: Line = []
    glued = False
    for part in _MARKUP.split(text):
        if not part:
            continue
        face, at = font(family), size
        if part.startswith("**"):
            face, body = font(family, 1), part[2:-2]
        elif part.startswith("`"):
            face, at, body = font("mono"), size * 0.94, part[1:-1]
        elif part.startswith("_") and part.endswith("_") and len(part) > 2:
            face, body = font(family, 2), part[1:-1]
        else:
            body = part
        pieces = body.split()
        if glued and words and not body[:1].isspace() and pieces:
            # Punctuation right behind a styled word stays with it.
            before = words.pop()
            first = before[0] + pieces[0]
            # ... and an opening bracket goes with the styled word that it opens.
            style, height = (face, at) if before[0] in {"(", "“", "["} else before[1:3]
            words.append((first, style, height, width_of(first, style, height)))
            pieces = pieces[1:]
        words.extend((piece, face, at, width_of(piece, face, at)) for piece in pieces)
        glued = not body[-1:].isspace()
    return words


def save(doc: pymupdf.Document, path: Path, *, title: str, author: str, subject: str = "") -> None:
    """Write the document small, with fixed dates and ids so that equal drawings are equal
    files."""
    stamp = "D:20250301090000Z"
    doc.set_metadata(
        {
            "title": title,
            "author": author,
            "subject": subject,
            "creator": "make_samples.py",
            "producer": "PyMuPDF",
            "creationDate": stamp,
            "modDate": stamp,
        }
    )
    doc.subset_fonts()
    doc.save(path, garbage=4, deflate=True, no_new_id=True, use_objstms=1)
    doc.close()
