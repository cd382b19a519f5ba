"""Small real files that the tests of intake write for themselves, whole and broken."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
import pymupdf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PARAGRAPH = (
    "The harbour office keeps a ledger of every vessel that entered the basin last winter. "
    "Pilots report the draught, the master signs the sheet, and the clerk adds the dues."
)
_HELVETICA = b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"


def pdf(texts: Sequence[str], *, title: str = "", password: str = "", owner: str = "") -> bytes:
    """A PDF with a page for each text; locked if there is a ``password``."""
    document = pymupdf.open()
    for text in texts:
        page = document.new_page(width=300, height=200)
        if text:
            page.insert_textbox((20, 20, 280, 190), text, fontsize=11)
    if title:
        document.set_metadata({"title": title})
    lock = {}
    if password or owner:
        lock = {
            "encryption": pymupdf.PDF_ENCRYPT_AES_256,
            "user_pw": password,
            "owner_pw": owner or password,
        }
    return bytes(document.tobytes(**lock))


def raw_pdf(objects: Sequence[bytes]) -> bytes:
    """Object 1, the catalogue, and its followers with a right cross-reference table."""
    out = b"%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return out + head + table + trailer % (len(objects) + 1, len(out))


def raw_stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(content), content)


def raw_pages(
    contents: Sequence[bytes], resources: bytes = b"", more: Sequence[bytes] = ()
) -> bytes:
    """A PDF of 300 x 200 points with a page for each content stream; ``more`` objects follow
    at number 3 + twice the number of pages."""
    kids = b" ".join(b"%d 0 R" % (3 + 2 * i) for i in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(contents)),
    ]
    for i, content in enumerate(contents):
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents %d 0 R/Resources<<%b>>>>"
        objects += [page % (4 + 2 * i, _HELVETICA + resources), raw_stream(content)]
    return raw_pdf([*objects, *more])


def show(text: str) -> bytes:
    """A content stream that prints ``text``."""
    return b"BT /F 20 Tf 20 100 Td (%b) Tj ET" % text.encode("latin-1")


def empty_pdf() -> bytes:
    """A sound PDF without a page."""
    return raw_pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"])


def endless_pdf(pages: int, endless: int) -> bytes:
    """A PDF of ``pages`` pages of which page ``endless`` takes 8 to the power of 12 paintings."""
    depth, fan = 12, 8
    first = 3 + 2 * pages
    forms = []
    for level in range(depth):
        last = level == depth - 1
        body = b"0 0 300 200 re f" if last else b"/X Do " * fan
        inner = b"" if last else b"/Resources<</XObject<</X %d 0 R>>>>" % (first + level + 1)
        entries = b"/Type/XObject/Subtype/Form/BBox[0 0 300 200]" + inner
        forms.append(raw_stream(body, entries))
    contents = [b"/X Do" if i == endless else show(f"page {i}") for i in range(pages)]
    return raw_pages(contents, b"/XObject<</X %d 0 R>>" % first, forms)


def too_nested_pdf(text: str) -> bytes:
    """A page whose graphics state is nested deeper than MuPDF goes; others print it."""
    return raw_pages([b"q " * 20_000 + show(text)])


def lying_pdf(pages: int, claimed: int) -> bytes:
    """A PDF of ``pages`` pages that says it has ``claimed``."""
    whole = raw_pages([show(f"page {i}") for i in range(pages)])
    return whole.replace(b"/Count %d" % pages, b"/Count %d" % claimed)


def unreadable_pdf() -> bytes:
    """One page, whose content is packed in a way that no decoder takes."""
    content = zlib.compress(show("lost"))[:-4]
    parameters = b"<</Predictor 2/Colors 536870913/Columns 1/BitsPerComponent 8>>"
    entries = b"/Filter/FlateDecode/DecodeParms%b" % parameters
    return raw_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R>>",
            raw_stream(content, entries),
        ]
    )


def picture(
    text: str = "Landmark", size: tuple[int, int] = (320, 120), mode: str = "RGB"
) -> Image.Image:
    """Black ``text`` in the upper left of a white picture."""
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    draw.multiline_text((16, 12), text, fill=0, font=ImageFont.load_default(24), spacing=8)
    return image.convert(mode)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that claims ``width`` x ``height`` grey pixels and brings none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def ink(image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """The box around what is dark on ``[h, w, 3] uint8``, in fractions of the picture."""
    rows, columns = np.nonzero(image.min(axis=2) < 128)
    height, width = image.shape[:2]
    return (
        float(columns.min() / width),
        float(rows.min() / height),
        float((columns.max() + 1) / width),
        float((rows.max() + 1) / height),
    )


_OPEN_XML = "http://schemas.openxmlformats.org"
_WORD = f"{_OPEN_XML}/wordprocessingml/2006/main"
_LINKED = (
    '<w:p><w:r><w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml" '
    'style="width:50pt;height:50pt"><v:imagedata xmlns:r="{relations}" r:href="rIdL"/>'
    "</v:shape></w:pict></w:r></w:p>"
)


def docx(paragraphs: Sequence[str], *, picture: str = "") -> bytes:
    """A Word document; with ``picture`` it shows one that lies at that address."""
    relations = f"{_OPEN_XML}/officeDocument/2006/relationships"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    link = ""
    if picture:
        body += _LINKED.format(relations=relations)
        link = (
            f'<Relationship Id="rIdL" Type="{relations}/image" Target="{picture}" '
            'TargetMode="External"/>'
        )
    package = f"{_OPEN_XML}/package/2006"
    kind = "application/vnd.openxmlformats-"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Default Extension="rels" ContentType="{kind}package.relationships+xml"/>'
            '<Override PartName="/word/document.xml" ContentType="'
            f'{kind}officedocument.wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship '
            f'Id="rId1" Type="{relations}/officeDocument" Target="word/document.xml"/>'
            "</Relationships>",
            "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f"{link}</Relationships>",
            "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body>'
            "</w:document>",
        }
    )


def xlsx(cells: dict[str, str], *, print_area: str) -> bytes:
    """A workbook of one sheet, a cell a row, of which ``print_area`` is to be printed."""
    relations = f"{_OPEN_XML}/officeDocument/2006/relationships"
    sheet = f"{_OPEN_XML}/spreadsheetml/2006/main"
    package = f"{_OPEN_XML}/package/2006"
    kind = "application/vnd.openxmlformats-"
    rows = "".join(
        f'<row r="{at[1:]}"><c r="{at}" t="inlineStr"><is><t>{text}</t></is></c></row>'
        for at, text in cells.items()
    )
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Default Extension="rels" ContentType="{kind}package.relationships+xml"/>'
            '<Override PartName="/xl/workbook.xml" ContentType="'
            f'{kind}officedocument.spreadsheetml.sheet.main+xml"/>'
            '<Override PartName="/xl/worksheets/sheet.xml" ContentType="'
            f'{kind}officedocument.spreadsheetml.worksheet+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship '
            f'Id="r" Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="s" Type="{relations}/worksheet" Target="worksheets/sheet.xml"/>'
            "</Relationships>",
            "xl/workbook.xml": f'<workbook xmlns="{sheet}" xmlns:r="{relations}"><sheets>'
            '<sheet name="S" sheetId="1" r:id="s"/></sheets><definedNames><definedName '
            f'name="_xlnm.Print_Area" localSheetId="0">S!{print_area}</definedName>'
            "</definedNames></workbook>",
            "xl/worksheets/sheet.xml": f'<worksheet xmlns="{sheet}"><dimension '
            f'ref="A1:{max(cells)}"/><sheetData>{rows}</sheetData></worksheet>',
        }
    )


def odt(text: str, *, section: str) -> bytes:
    """An OpenDocument text with a section that is said to be the file at ``section``."""
    urn = "urn:oasis:names:tc:opendocument:xmlns"
    kind = "application/vnd.oasis.opendocument.text"
    return zipped(
        {
            "mimetype": kind,
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{urn}:manifest:1.0">'
            f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
            '<manifest:file-entry manifest:full-path="content.xml" '
            'manifest:media-type="text/xml"/></manifest:manifest>',
            "content.xml": f'<office:document-content xmlns:office="{urn}:office:1.0" '
            f'xmlns:text="{urn}:text:1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'office:version="1.2"><office:body><office:text><text:p>{text}</text:p>'
            f'<text:section text:name="S"><text:section-source xlink:href="{section}"/>'
            "<text:p/></text:section></office:text></office:body></office:document-content>",
        }
    )


def zipped(parts: dict[str, str]) -> bytes:
    """A ZIP archive of ``parts``, by name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


# "top left", HEVC. Its EXIF says orientation 6, which the format says is to be ignored (files
# that are turned say so in their own way). Pillow cannot write HEIC, so the file itself is here.
HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0004&ZDn*}000000000XXk=`10000000000aA{+70000000000000"
    "0000000G-+&aV*mgE07O6l0ssL300001x&Q$H0000000K(@0ssI200ad90RR9100000Bme*aIB98aW&i*H000620"
    "00$fZf0cy000000RRAKc4ILB0000LX>Mj^0ssI300IC2MR;ju000004sdC7Z2$lO00031007l#aB^?}006dWaAR)"
    "(004Jrc4I>U18@KU0FVFx0000y@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ!0009300RI#x&lC90096hLID8-Z~"
    "y=U0FVFx0{{R606d@y2p(B(q>`HE;31&EfB*mtfB*mk0EA)y0RRU?0l{*xVn6@@025<xY;ta6Y<K_x01W^JfB*mh"
    "6lrsCWdHyG00001KmY&$cmMzZ5O8UDX#fBK00RgJ2mk;87in;9VE_OC000000RRC6fdT^r0000QX>w&|00000000"
    "0EV`Ot<00IC3009610(Wg>VRQfh0!JtTuNgw3$XB<RG#VLc=pf%%J_nTSq}?W|c_S+h%)%sO(BGA+3fWjP2H-m2i"
    "+6w#MHv}QK%T@ROn&69#3o2g>?aA^%0C>)gH3l$xDY3$Y!aQP0(+LBf!2!;K^E|gwlw$NGkHe%UBmlo0n?kAlSJ%"
    "><p-h2n1?{2L!P{wfMH2M`UVtq==+$=Z@LsEP0_2=<@-`Y9l#)O49jC|zY*t*2QmCDGbZuCXo-lNC*Kgse2VB-ay"
    "<@Ekwa~xUi;urjq|$A)|VoSbIxTErjl13vm9G&(aq$pL!_DMJ+1*IH}bfKMCB4Jp5mKB1I^yB1&cwscFh+1Eo>QX"
    "WVAc*GTk5+?MB5xB7|2Pqo3f-SZ>+Kp(b%7*mZ<wU8X}z;lILzK+G!B+D;gp6EIoO_(M>xIJH*4N=Koig;#jOY(B"
    "$f>$Tvo5}qIuQ(rl6K#{GO#ZJj77$f_ALTdDmL`iKsiq|6ECe`DWyy_nrrL{d-?Uy_qo7#)=)t8HwmYwhF>W?~z>"
    "+t5^C=6&eGWhs2&#I+@SgAf=z2Hcv-eu)v#K(CI^%a~FLibDYp?QCBWgKqYv7gss_gt+G$X`^xV80(yWM~i}YRpv"
    "?*%odQqZ%yrUZ{&?@lG^CC_<HajA}nDu448|uYT%;J6vqH-ePMEh1ca|sS!rHpV7P6P<w&cf#8U4YLW2j5(UZI05"
    "1)|2>eZoBXmqHM?H=Jg=G)c0-!p?ajoHxG*lu$zyJV2KmZj$07!rYqyPW_21R&jW&i+9O#mtY000O80Ra*K0{{R3"
    "0RRR70000000"
)
