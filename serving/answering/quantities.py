"""Numbers with a unit, dates and times: what they measure, and where they stand in a line.

A page that says "Heat the barrel to 215 °C" states a temperature without the word; the unit says
so. What a question wants measured ("how heavy", "which pressure") is compared with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.answering.spans import DATE, TIME

# Symbols as they are written (SI, and what trades use beside it); small and capital letters differ.
_SYMBOLS: dict[str, str] = {
    "pressure": "bar mbar kPa MPa hPa Pa psi N/mm² kg/cm² mmHg",
    "temperature": "°C °F ºC ºF",
    "voltage": "V kV mV VAC VDC",
    "current": "A mA µA μA kA",
    "power": "W kW MW mW kVA VA hp",
    "energy": "Wh kWh MWh J kJ MJ kcal",
    "charge": "Ah mAh",
    "frequency": "Hz kHz MHz GHz",
    "resistance": "Ω kΩ MΩ",
    "force": "N kN",
    "torque": "Nm",
    "mass": "kg g mg µg μg t lb lbs oz",
    "length": "mm cm m km µm μm nm ft",
    "area": "m² cm² mm² km² ha sqm",
    "volume": "l L ml mL cl m³ cm³",
    "flow": "m³/h l/min l/s l/h L/min",
    "speed": "km/h m/s mph rpm r/min 1/min",
    "duration": "s sec ms min h hr hrs",
    "noise": "dB dB(A)",
    "percent": "%",
    "concentration": "mg/l µg/l μg/l g/l mg/L ppm",
    "data": "KB MB GB TB",
}
_WORDS: dict[str, str] = {
    "temperature": "degrees",
    "voltage": "volt volts",
    "current": "amp amps ampere amperes",
    "power": "watt watts kilowatt kilowatts",
    "mass": "gram grams kilogram kilograms kilo kilos tonne tonnes ton tons pound pounds"
    " ounce ounces",
    "length": "millimetre millimetres centimetre centimetres metre metres meter meters kilometre"
    " kilometres kilometer kilometers inch inches foot feet mile miles",
    "area": "hectare hectares acre acres",
    "volume": "litre litres liter liters millilitre millilitres gallon gallons",
    "duration": "second seconds minute minutes hour hours day days week weeks month months"
    " year years",
    "percent": "percent",
    "noise": "decibel decibels",
}
# Two names of one unit, so that "15 s" answers "how many seconds".
_ALIKE = {
    **dict.fromkeys(("s", "sec"), "second"),
    "min": "minute",
    **dict.fromkeys(("h", "hr", "hrs"), "hour"),
    **{"g": "gram", "kg": "kilogram", "kilo": "kilogram", "t": "tonne", "ton": "tonne"},
    **{"mm": "millimetre", "cm": "centimetre", "m": "metre", "km": "kilometre"},
    **{"meter": "metre", "kilometer": "kilometre", "l": "litre", "L": "litre", "liter": "litre"},
    **{"V": "volt", "A": "amp", "ampere": "amp", "W": "watt", "kW": "kilowatt"},
    **{"°C": "degree", "ºC": "degree", "°F": "degree", "%": "percent", "foot": "feet"},
}
_DIMENSION = {unit: name for name, units in _SYMBOLS.items() for unit in units.split()}
_DIMENSION |= {unit: name for name, units in _WORDS.items() for unit in units.split()}
_COUNTED = (
    "one two three four five six seven eight nine ten eleven twelve fourteen fifteen eighteen"
    " twenty thirty forty fifty sixty ninety"
)
_COUNT_WORDS = _COUNTED.split()
_SIGN = r"(?:US\$|RM|Rs\.?|[$€£¥₹]|(?:USD|EUR|GBP|MYR|INR|CHF)\b)"
_NUMBER = r"\d{1,3}(?:[,'\u00a0\u202f]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?"
_UNIT = "|".join(map(re.escape, sorted(_DIMENSION, key=len, reverse=True)))
_QUANTITY = re.compile(
    rf"(?<![\w.,:/#-])(?P<sign>{_SIGN}\s?)?[-\u2212+±]?(?:{_NUMBER}|\b(?:{'|'.join(_COUNT_WORDS)})\b)"
    rf"(?:\s?(?:to|[-\u2013])\s?[-\u2212]?(?:{_NUMBER}))?(?:\s(?:thousand|million|billion)\b)?"
    rf"(?:[\s-]?(?P<unit>{_UNIT})(?![\w²³/(])|\s?(?P<after>{_SIGN}))?(?![\w/]|[:.-]\d)"
)
_MONEY = re.compile(r"\d[.,]\d\d$")
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True)
class Quantity:
    """Words ``first .. last`` (exclusive) of a line. ``dimension`` is what it measures ("money",
    "date" and "time" too), "" for a bare number; ``unit`` in one form ("minute")."""

    first: int
    last: int
    text: str
    dimension: str
    unit: str = ""


def unit_form(word: str) -> str | None:
    """A unit in one form, None if the word is no unit.

    >>> unit_form("minutes"), unit_form("min"), unit_form("kPa"), unit_form("lamp")
    ('minute', 'minute', 'kPa', None)
    """
    if word not in _DIMENSION:
        return None
    plain = word if len(word) < 4 or word in ("feet", "degrees") else word.removesuffix("s")
    return _ALIKE.get(plain, "degree" if word == "degrees" else plain)


def dimension_of(unit: str) -> str:
    """What a unit measures, "" if it is none."""
    return _DIMENSION.get(unit, "")


def quantities_in(words: list[str]) -> list[Quantity]:
    """Quantities, bare numbers, dates and times of a line, from left to right.

    >>> [(q.text, q.dimension) for q in quantities_in("at 93 °C for 2 h on 6 May 2024".split())]
    [('93 °C', 'temperature'), ('2 h', 'duration'), ('6 May 2024', 'date')]
    """
    line = " ".join(words)
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    found: list[tuple[int, int, str, str]] = []
    for pattern, name in ((DATE, "date"), (TIME, "time")):
        found += [(*m.span(), name, "") for m in pattern.finditer(line)]
    taken = [(a, b) for a, b, *_ in found]
    for match in _QUANTITY.finditer(line):
        a, b = match.span()
        if any(x < b and a < y for x, y in taken):
            continue
        unit = match["unit"] or ""
        name = dimension_of(unit)
        if match["sign"] or match["after"] or (not unit and _MONEY.search(match.group())):
            name = "money"
        elif not unit and _YEAR.fullmatch(match.group()):
            continue
        found.append((a, b, name, unit_form(unit) or "" if unit else ""))
    return [_quantity(line, starts, *span) for span in sorted(found)]


def _quantity(line: str, starts: list[int], a: int, b: int, name: str, unit: str) -> Quantity:
    first = max(i for i, at in enumerate(starts[:-1]) if at <= a)
    last = next(i for i, at in enumerate(starts) if at >= b)
    return Quantity(first, last, line[a:b].strip(), name, unit)


def is_quantity(text: str) -> bool:
    """Whether a cell holds a quantity, a date or a time and nothing else."""
    found = quantities_in(text.split())
    return len(found) == 1 and len(found[0].text) >= len(text.strip(" ()*")) - 1
