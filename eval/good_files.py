"""Small whole files of every kind that is read without another program, to be damaged."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from eval.synthetic_video import encode, page, prose

_SIZE = (320, 180)
_FRAMES = 12


def write_good_files(folder: Path) -> list[Path]:
    """Write one file of each kind into ``folder``, a few kilobytes each; needs PyAV for videos
    and leaves them out without it."""
    folder.mkdir(parents=True, exist_ok=True)
    slides = [page(prose(seed, 4), _SIZE) for seed in range(3)]
    paths = [_pdf(folder / "good.pdf"), *_pictures(folder, slides)]
    try:
        import av  # noqa: F401
    except ImportError:
        return paths
    frames = [(n / 4, slides[n // 4]) for n in range(_FRAMES)]
    for name, codec in (
        ("good.mp4", "libx264"),
        ("good.mov", "libx264"),
        ("good.mkv", "libx264"),
        ("good.webm", "libvpx"),
        ("moving.gif", "gif"),
    ):
        paths.append(encode(folder / name, iter(frames), fps=4, codec=codec))
    return paths


def _pdf(path: Path) -> Path:
    import pymupdf

    document = pymupdf.open()
    for number in range(3):
        leaf = document.new_page(width=300, height=200)
        leaf.insert_textbox((20, 20, 280, 190), " ".join(prose(number, 3)), fontsize=11)
    document.save(path, deflate=True)
    document.close()
    return path


def _pictures(folder: Path, slides: list[Image.Image]) -> list[Path]:
    first, more = slides[0], slides[1:]
    grey = first.convert("L")
    paths = []
    for name, image, options in (
        ("good.png", first, {}),
        ("good.jpg", first, {"quality": 80}),
        ("good.webp", first, {}),
        ("good.avif", first, {"quality": 60}),
        ("good.bmp", grey, {}),
        ("good.jp2", grey, {}),
        ("scan.tif", grey.convert("1"), {"compression": "group4"}),
        ("pages.tif", first, {"save_all": True, "append_images": more, "compression": "tiff_lzw"}),
        ("good.gif", first.convert("P"), {}),
        ("deep.png", grey.convert("I;16"), {}),
        ("inks.jpg", first.convert("CMYK"), {}),
    ):
        path = folder / name
        image.save(path, **options)
        paths.append(path)
    return paths
