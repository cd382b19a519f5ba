"""A user manual: an outline of two levels, blocks of code, tables of keys and limits."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from samples.canvas import MUTED, WHITE, Canvas, rgb, save

W, H = 499, 709  # B5
LEFT, WIDE = 58, 383
BLUE, PALE = rgb("24507a"), rgb("e9f0f6")


class Manual:
    def __init__(self) -> None:
        self.doc = pymupdf.open()
        self.outline: list[list[object]] = []
        self.canvas: Canvas
        self.y = 0.0

    def chapter(self, title: str) -> None:
        if self.doc.page_count:
            self.canvas.finish()
        self.canvas = Canvas(self.doc, W, H)
        number = self.doc.page_count
        self.outline.append([1, title, number])
        c = self.canvas
        c.text(LEFT, 40, "Kestrel 3 weather station", size=8, colour=MUTED)
        c.text(LEFT + WIDE, 40, "User manual, firmware 3.4", size=8, colour=MUTED, align="right")
        c.text(LEFT, 86, title, size=21, style=1, colour=BLUE)
        c.rule(LEFT, 98, LEFT + WIDE, 98, colour=BLUE, thick=1.2)
        c.text(W / 2, 682, str(number), size=8.5, colour=MUTED, align="centre")
        self.y = 110.0

    def section(self, title: str) -> None:
        self.outline.append([2, title, self.doc.page_count])
        self.canvas.text(LEFT, self.y + 22, title, size=12.5, style=1)
        self.y += 32

    def say(self, text: str) -> None:
        self.y = self.canvas.paragraph(LEFT, self.y, WIDE, text, size=9.8) + 7

    def code(self, source: str) -> None:
        self.y = self.canvas.code(LEFT, self.y, WIDE, source)

    def steps(self, *items: str, numbered: bool = True) -> None:
        self.y = self.canvas.bullets(LEFT, self.y, WIDE, items, size=9.8, numbered=numbered) + 5

    def table(self, widths: list[float], rows: list[list[str]], aligns: str = "") -> None:
        self.y = (
            self.canvas.table(
                LEFT,
                self.y,
                widths,
                rows,
                size=8.8,
                accent=BLUE,
                aligns=aligns or "l" * len(widths),
            )
            + 12
        )

    def note(self, word: str, text: str) -> None:
        c = self.canvas
        c.text(LEFT + 12, self.y + 17, word, size=9.5, style=1, colour=BLUE)
        below = c.paragraph(LEFT + 82, self.y + 6, WIDE - 94, text, size=9.5)
        c.rule(LEFT + 1, self.y, LEFT + 1, below + 6, colour=BLUE, thick=2)
        self.y = below + 16


def draw(path: Path) -> None:
    m = Manual()
    _cover(m)
    _setup(m)
    _daily(m)
    _config(m)
    _api(m)
    _export(m)
    _trouble(m)
    _limits(m)
    m.canvas.finish()
    m.doc.set_toc(m.outline)
    save(
        m.doc,
        path,
        title="Kestrel 3 weather station: user manual",
        author="Fellside Instruments",
        subject="Firmware 3.4",
    )


def _cover(m: Manual) -> None:
    m.canvas = c = Canvas(m.doc, W, H)
    m.outline.append([1, "Cover", 1])
    c.box(0, 0, W, 300, fill=BLUE)
    c.text(LEFT, 130, "Kestrel 3", size=46, style=1, colour=WHITE)
    c.text(LEFT, 164, "Weather station", size=22, colour=WHITE)
    c.text(LEFT, 260, "User manual for firmware 3.4", size=12, colour=WHITE)
    # The mast, its cups and its vane.
    x = 370
    c.rule(x, 610, x, 360, colour=BLUE, thick=5)
    c.rule(x - 66, 372, x + 66, 372, colour=BLUE, thick=3)
    for side in (-66, 66):
        c.page.draw_circle((x + side, 372), 15, color=BLUE, fill=PALE, width=3)
    c.page.draw_polyline(
        [(x - 46, 430), (x + 40, 430), (x + 62, 412), (x + 62, 448), (x + 40, 430)],
        color=BLUE,
        width=3,
    )
    c.box(x - 24, 480, 48, 62, fill=PALE, line=BLUE, thick=3, radius=0.1)
    for i in range(4):
        c.rule(x - 24, 492 + 12 * i, x + 24, 492 + 12 * i, colour=BLUE, thick=1.5)
    c.rule(x - 70, 612, x + 70, 612, colour=BLUE, thick=3)
    c.text(LEFT, 640, "Fellside Instruments", size=13, style=1)
    c.text(LEFT, 657, "Mill Lane 3, Kendal LA9 4PB", size=9.5, colour=MUTED)


def _setup(m: Manual) -> None:
    m.chapter("1  Setting up")
    m.section("1.1  What is in the box")
    m.steps(
        "the sensor mast with cups, vane and radiation shield",
        "the base unit with its screen",
        "a 5 V supply, a mast clamp for pipes of 25 to 50 mm, and a hexagon key of 4 mm",
        numbered=False,
    )
    m.section("1.2  Mounting the mast")
    m.say(
        "Wind is measured best ten metres above open ground. On a roof, put the cups at least "
        "**two metres above the ridge**. The rain gauge must be level: turn the mast until the "
        "bubble stands in the black ring."
    )
    m.steps(
        "Clamp the mast to the pipe and tighten the two screws to 6 Nm.",
        "Point the arrow on the shield to true north, not to the north of the compass.",
        "Pull the orange strip out of the battery door. The light blinks green three times.",
        "Carry the base unit indoors, plug it in and hold **Pair** for five seconds.",
    )
    m.note(
        "Note",
        "The radio reaches 300 m across a field and about 40 m through two brick walls. "
        "If the bar on the screen shows fewer than two marks, move the base unit first.",
    )
    m.section("1.3  Setting the altitude")
    m.say(
        "Pressure is shown as at sea level, so the station must know how high it stands. Choose "
        "_Menu, Place, Altitude_ and enter metres. An error of 8 m shifts the pressure by 1 hPa."
    )


def _daily(m: Manual) -> None:
    m.chapter("2  Everyday use")
    m.section("2.1  The screen")
    m.say(
        "The screen has four fields. **Wind** shows the mean of ten minutes and the strongest "
        "gust of the last hour; **Rain** the sum since midnight; **Air** temperature, dew point "
        "and humidity; **Trend** the pressure of the last 24 hours as a line."
    )
    m.table(
        [88, 80, 215],
        [
            ["Button", "Press", "What it does"],
            ["Menu", "short", "Opens the settings"],
            ["Menu", "3 seconds", "Locks the buttons, and unlocks them"],
            ["Light", "short", "Lights the screen for 20 seconds"],
            ["Pair", "5 seconds", "Looks for a mast"],
            ["Pair and Light", "12 seconds", "Erases all settings; readings stay"],
        ],
    )
    m.section("2.2  Alarms")
    m.say(
        "Up to eight alarms watch one value each. An alarm sounds once and is silent until the "
        "value has been back inside its limit for thirty minutes, so that gusts around the limit "
        "do not ring all night. Frost warnings use the dew point and come about two hours early."
    )
    m.section("2.3  Looking after the mast")
    m.steps(
        "Clean the funnel of the rain gauge every three months.",
        "Change the lithium cell (type CR123A) every two years; the screen asks for it when "
        "less than 10% is left.",
        "Oil nothing. The bearings are sapphire and oil holds dust.",
        numbered=False,
    )


def _config(m: Manual) -> None:
    m.chapter("3  The configuration file")
    m.say(
        "Everything on the screen, and more, is in one file on the memory card, `kestrel.toml`. "
        "The base unit reads it when it starts and when the card is put in. A file with a "
        "mistake is not used at all: the screen then names the line."
    )
    m.section("3.1  An example")
    m.code("""[station]
name = "Orchard"
altitude_m = 164
timezone = "Europe/London"

[wind]
unit = "m/s"          # m/s, km/h, knots, bft
mean_minutes = 10     # 1 to 60
gust_seconds = 3

[upload]
url = "https://weather.example.org/ingest"
every_seconds = 300
token_file = "/card/token.txt"

[[alarm]]
value = "air.dew_point"
below = 0.5
sound = "low"
""")
    m.section("3.2  Keys that surprise")
    m.table(
        [124, 64, 195],
        [
            ["Key", "Default", "Meaning"],
            ["wind.gust_seconds", "3", "A gust lasts at least this long"],
            ["rain.tip_mm", "0.2", "Rain for one tip of the bucket"],
            ["radio.channel", "auto", "1 to 8; fix it if two masts stand close"],
            ["log.keep_days", "730", "Older readings are thinned to hourly means"],
            ["upload.retry_limit", "48", "After that a packet is dropped"],
        ],
    )


def _api(m: Manual) -> None:
    m.chapter("4  Reading the station by HTTP")
    m.say(
        "The base unit answers on port **8087** of the local network. Nothing can be changed that "
        "way, so there is no password; keep the port inside your network all the same."
    )
    m.section("4.1  The latest reading")
    m.code("""$ curl http://kestrel.local:8087/v1/now
{
  "time": "2025-02-14T07:40:00Z",
  "air": {"temperature_c": 3.8, "humidity": 0.91},
  "wind": {"mean_ms": 5.2, "gust_ms": 9.7, "from": 245},
  "rain": {"today_mm": 1.4}
}
""")
    m.section("4.2  A span of time")
    m.code("""import json, urllib.request

URL = "http://kestrel.local:8087/v1/history"
query = "?from=2025-02-01&to=2025-02-07&step=1h"
with urllib.request.urlopen(URL + query) as answer:
    rows = json.load(answer)["rows"]
print(max(row["wind"]["gust_ms"] for row in rows))
""")
    m.say(
        "`step` is one of `1m`, `10m`, `1h` and `1d`. One request returns at most 2,000 rows; a "
        "longer span answers with status **413** and says which step would fit."
    )
    m.note("Limit", "Four requests a second, counted for each address. The fifth gets status 429.")


def _export(m: Manual) -> None:
    m.chapter("5  Taking the readings away")
    m.section("5.1  From the memory card")
    m.say(
        "Each day is one file, `YYYY-MM-DD.csv`, with a line a minute. Columns never change their "
        "order; new ones are added on the right."
    )
    m.code("""time,air_c,humidity,dew_c,hpa,wind_ms,gust_ms,from,rain_mm
2025-02-14T07:39,3.8,0.91,2.5,1009.2,5.0,8.1,243,0.0
2025-02-14T07:40,3.8,0.91,2.5,1009.2,5.2,9.7,245,0.2
2025-02-14T07:41,3.7,0.91,2.4,1009.1,4.9,7.7,246,0.0
""")
    m.section("5.2  With the command-line tool")
    m.say("`kestrelctl` runs on Linux, macOS and Windows and copies only what is missing:")
    m.code("""$ pip install kestrelctl
$ kestrelctl pull --from orchard --into ~/weather
orchard: 41 days on the station, 38 here, copying 3
$ kestrelctl summary --month 2025-01 ~/weather
mean 4.1 C   lowest -6.3 C on 10 January
rain 83.4 mm on 17 days   strongest gust 27.5 m/s
""")
    m.say(
        "A damaged day is copied as far as it can be read and named in `damaged.txt`. Run "
        "`kestrelctl pull --again DATE` to try once more after cleaning the contacts of the "
        "card."
    )


def _trouble(m: Manual) -> None:
    m.chapter("6  When something is wrong")
    m.table(
        [58, 137, 188],
        [
            ["Code", "What the screen says", "What to do"],
            ["E-11", "No mast heard for an hour", "Change the cell; then pair again"],
            ["E-14", "Mast heard, checksum wrong", "Set radio.channel to a free one"],
            ["E-23", "Cups still, vane moving", "Look for ice or a spider on the cups"],
            ["E-27", "Rain bucket stuck", "Clean the funnel; tip the bucket by hand"],
            ["E-31", "Memory card full", "Copy it, then delete the oldest year"],
            ["E-40", "File kestrel.toml refused", "See the line that the screen names"],
            ["E-52", "Clock lost", "Connect to the network, or set it by hand"],
        ],
    )
    m.section("6.1  Readings that look wrong")
    m.say(
        "**Too warm on sunny days?** The shield needs wind to work. Below 0.5 m/s it reads up to "
        "1.2 °C too high; the value `air.shield_error` of the file estimates by how much."
    )
    m.say(
        "**Rain without clouds?** Dew tips the bucket about once a night in autumn. Set "
        "`rain.ignore_single_tips = true`."
    )
    m.section("6.2  Starting afresh")
    m.steps(
        "Copy the memory card.",
        "Hold **Pair** and **Light** together for twelve seconds.",
        "Wait for the bird on the screen, then set place and time.",
        "Pair the mast as in section 1.2.",
    )
    m.note(
        "Warning",
        "Never open the base unit while it is plugged in. The supply is safe, but the "
        "capacitor of the screen holds 90 V for a minute.",
    )


def _limits(m: Manual) -> None:
    m.chapter("7  Technical data")
    m.table(
        [143, 120, 120],
        [
            ["Quantity", "Range", "Accuracy"],
            ["Air temperature", "-40 to +60 °C", "0.2 °C"],
            ["Relative humidity", "0 to 100%", "2 points"],
            ["Pressure", "300 to 1,100 hPa", "0.5 hPa"],
            ["Wind speed", "0.4 to 67 m/s", "3%, at least 0.3 m/s"],
            ["Wind direction", "0 to 359°", "4°"],
            ["Rain", "0 to 400 mm/h", "4% up to 100 mm/h"],
        ],
    )
    m.section("7.1  Power and radio")
    m.table(
        [143, 240],
        [
            ["Part", "Value"],
            ["Radio", "868.3 MHz, 25 mW, a packet every 16 seconds"],
            ["Mast", "CR123A lithium cell, two years"],
            ["Base unit", "5 V, 0.4 A; 36 hours on its own battery"],
            ["Memory card", "up to 32 GB; a year takes 310 MB"],
        ],
    )
    m.section("7.2  Guarantee and repair")
    m.say(
        "The guarantee lasts three years from the day of sale. Cups, vane and shield are sold as "
        "parts for at least ten years. Write to repair@fellside.example with the number on the "
        "back of the base unit; we answer within two working days."
    )
    m.section("7.3  Open source")
    m.say(
        "The firmware contains FreeRTOS (MIT), lwIP (BSD) and toml-c (MIT). Their licences are "
        "shown under _Menu, About, Licences_."
    )
