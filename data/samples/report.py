"""An annual report: tables, stacked bars, lines, page labels and an outline."""

from __future__ import annotations

from pathlib import Path

from samples.canvas import MUTED, WHITE, rgb, save
from samples.charts import Frame, bars, legend, lines
from samples.report_accounts import balance, cash, income
from samples.report_page import CORAL, LEFT, SAND, TEAL, WIDE, H, Report, W, heading

YEARS = ["2020", "2021", "2022", "2023", "2024"]
SEGMENTS = ["City bikes", "Cargo bikes", "Service and parts"]
REVENUE = [
    [61.2, 68.4, 79.1, 84.6, 82.3],
    [18.5, 27.9, 41.6, 58.3, 76.8],
    [9.8, 11.6, 14.2, 18.7, 24.1],
]


def draw(path: Path) -> None:
    report = Report()
    _cover(report)
    _contents(report)
    _glance(report)
    _letter(report)
    _review(report)
    _markets(report)
    _quality(report)
    _risks(report)
    income(report)
    balance(report)
    cash(report)
    doc = report.doc
    doc.set_toc(report.outline)
    doc.set_page_labels(
        [
            {"startpage": 0, "prefix": "", "style": "r", "firstpagenum": 1},
            {"startpage": 2, "prefix": "", "style": "D", "firstpagenum": 1},
        ]
    )
    save(
        doc,
        path,
        title="Tarnfield Cycles plc: Annual Report 2024",
        author="Tarnfield Cycles plc",
        subject="Annual report and accounts for the year ended 31 December 2024",
    )


def _cover(report: Report) -> None:
    c = report.page("Cover")
    c.box(0, 0, W, H, fill=TEAL)
    c.box(0, 560, W, 8, fill=CORAL)
    for ring, (x, y) in enumerate([(190, 380), (415, 380)]):
        for radius in (88, 82):
            c.page.draw_circle((x, y), radius, color=WHITE, width=1.6 if radius == 88 else 0.5)
        c.page.draw_circle((x, y), 6, color=WHITE, fill=CORAL if ring else WHITE, width=1)
    # A diamond frame, as a bicycle has.
    for a, b in [
        ((190, 380), (262, 262)),
        ((262, 262), (372, 250)),
        ((372, 250), (290, 385)),
        ((290, 385), (262, 262)),
        ((290, 385), (190, 380)),
        ((366, 222), (415, 380)),
        ((254, 244), (262, 262)),
    ]:
        c.rule(*a, *b, colour=WHITE, thick=3)
    c.rule(236, 242, 274, 242, colour=WHITE, thick=5)
    c.rule(366, 222, 396, 214, colour=WHITE, thick=4)
    c.text(LEFT, 150, "Annual Report 2024", size=40, family="serif", colour=WHITE)
    c.text(LEFT, 182, "and accounts for the year ended 31 December 2024", size=13, colour=WHITE)
    c.text(LEFT, 650, "Tarnfield Cycles plc", size=24, style=1, colour=WHITE)
    c.text(LEFT, 674, "Built to be repaired", size=13, family="serif", style=2, colour=WHITE)
    c.finish()


def _contents(report: Report) -> None:
    c = report.page("Contents")
    c.text(LEFT, 130, "Contents", size=28, family="serif", colour=TEAL)
    entries = [
        ("The year at a glance", "1"),
        ("Letter from the Chair", "2"),
        ("Chief Executive's review", "3"),
        ("Markets and people", "4"),
        ("Quality and climate", "5"),
        ("Principal risks", "6"),
        ("Consolidated income statement", "7"),
        ("Consolidated balance sheet", "8"),
        ("Cash flow and notes", "9"),
    ]
    for i, (name, page) in enumerate(entries):
        y = 190 + 34 * i
        c.text(LEFT, y, name, size=12)
        c.text(LEFT + WIDE, y, page, size=12, style=1, colour=CORAL, align="right")
        c.rule(LEFT, y + 10, LEFT + WIDE, y + 10)
    c.paragraph(
        LEFT,
        560,
        330,
        "All amounts are in millions of pounds sterling unless stated otherwise. Tarnfield Cycles "
        "plc is registered in England, number 07714402. Registered office: The Ropeworks, "
        "14 Harbour Street, Whitehaven CA28 7LL.",
        size=9,
        colour=MUTED,
    )
    c.finish()


def _glance(report: Report) -> None:
    c = report.page("The year at a glance", section="Overview")
    c.paragraph(
        LEFT,
        128,
        440,
        "Tarnfield designs, builds and repairs bicycles for towns. We sell through 46 of our own "
        "workshops and 380 partner shops in eleven countries, and we promise spare parts for "
        "every model for fifteen years after its last sale.",
        size=12,
        family="serif",
    )
    facts = [
        ("£183.2m", "revenue", "2023: £161.6m, up 13.4%"),
        ("£19.7m", "operating profit", "2023: £14.9m, up 32.2%"),
        ("30.0p", "earnings per share", "2023: 21.6p"),
        ("9.0p", "dividend per share", "2023: 7.0p"),
        ("74,300", "bikes delivered", "2023: 70,900"),
        ("612", "people at year end", "2023: 574"),
    ]
    for i, (figure, name, before) in enumerate(facts):
        x, y = LEFT + (i % 3) * 160, 236 + (i // 3) * 128
        c.box(x, y, 151, 112, fill=rgb("eef4f3"), radius=0.05)
        c.text(x + 14, y + 46, figure, size=27, family="serif", colour=TEAL)
        c.text(x + 14, y + 68, name, size=10.5, style=1)
        c.text(x + 14, y + 88, before, size=8.5, colour=MUTED)
    y = heading(c, 510, "What happened")
    c.bullets(
        LEFT,
        y,
        WIDE,
        [
            "**January.** The Porter 3 cargo bike went on sale; it became our best-selling model "
            "within seven months.",
            "**May.** We placed 1.6 million new shares at 525p and raised £8.4m to pay for the "
            "second assembly line in Whitehaven.",
            "**August.** The workshop in Ghent opened, our first in Belgium.",
            "**October.** We recalled 1,140 City 5 bikes to replace a stem bolt. Nobody was hurt. "
            "The recall cost £0.6m and was complete by 12 December.",
            "**November.** The second assembly line started, two weeks early.",
        ],
        gap=6,
    )
    c.finish()


def _letter(report: Report) -> None:
    c = report.page("Letter from the Chair", section="Overview")
    y = c.paragraph(
        LEFT,
        130,
        430,
        "A year in which cargo bikes stopped being a curiosity and became our second business.",
        size=15,
        family="serif",
        colour=CORAL,
    )
    y += 12
    for text in [
        "Dear shareholder,",
        "Ten years ago the board was asked to approve £240,000 for a bike with a box on its front. "
        "The minutes record that we agreed “with little expectation of volume”. In 2024 cargo "
        "bikes brought in £76.8m, forty-two pence of every pound that Tarnfield earned, and they "
        "made more profit than everything else together.",
        "The market for city bikes was hard. Retailers in Germany carried too much stock into "
        "the spring, and prices fell by about 6% over the year. We chose to make fewer bikes and "
        "not cheaper ones. Revenue from city bikes fell by 2.7%, the first fall since 2016, and "
        "our own stock came down by £6.8m, which shows in the cash we hold.",
        "The board proposes a final dividend of 6.2p a share, which with the interim dividend of "
        "2.8p makes 9.0p for the year. It will be paid on 6 June 2025 to shareholders on the "
        "register on 9 May 2025.",
        "Two colleagues leave the board. Henrik Aalto steps down as Finance Director at the annual "
        "general meeting after eleven years; Folasade Brandt, now at Merrow Foods, succeeds him "
        "on 1 July 2025. Ruth Ellery, who has chaired the audit committee since 2017, retires. "
        "I thank them both: the accounts in this report are as plain as they are because of them.",
        "The annual general meeting will be held at the Ropeworks in Whitehaven on 22 May 2025 at "
        "11 in the morning. Come by bicycle if you can. There will be somewhere dry to put it.",
    ]:
        y = c.paragraph(LEFT, y, WIDE, text, size=10.8, family="serif", justify=True) + 9
    c.text(LEFT, y + 26, "Marguerite Osei-Lindqvist", size=15, family="serif", style=2, colour=TEAL)
    c.text(LEFT, y + 44, "Chair, 11 March 2025", size=9, colour=MUTED)
    c.finish()


def _review(report: Report) -> None:
    c = report.page("Chief Executive's review", section="Strategy and performance")
    y = heading(c, 122, "Revenue")
    y = c.paragraph(
        LEFT,
        y,
        WIDE,
        "Revenue grew by 13.4% to £183.2m. All of the growth came from cargo bikes, up 31.7%, and "
        "from service and parts, up 28.9%. A cargo bike is ridden 3.4 times as far in a year as a "
        "city bike, so it comes back to our workshops more often; that is why the two grow "
        "together.",
        justify=True,
    )
    c.text(LEFT, y + 26, "Revenue by segment, 2020 to 2024", size=9.5, style=1)
    legend(c, LEFT + 190, y + 26, SEGMENTS, [TEAL, CORAL, SAND])
    frame = Frame(LEFT + 24, y + 56, WIDE - 24, 210, top=200, unit="£ million")
    bars(c, frame, YEARS, REVENUE, [TEAL, CORAL, SAND], stacked=True)
    y = heading(c, y + 292, "Profit by segment")
    y = c.table(
        LEFT,
        y,
        [191, 70, 70, 70, 70],
        [
            ["£ million", "2024", "2023", "Margin 2024", "Margin 2023"],
            ["City bikes", "5.9", "6.8", "7.2%", "8.0%"],
            ["Cargo bikes", "14.2", "9.1", "18.5%", "15.6%"],
            ["Service and parts", "5.1", "3.6", "21.2%", "19.3%"],
            ["Central costs", "(5.5)", "(4.6)", "", ""],
            ["Operating profit", "19.7", "14.9", "10.8%", "9.2%"],
        ],
        strong=[5],
        accent=TEAL,
    )
    y = heading(c, y + 12, "What comes next")
    c.paragraph(
        LEFT,
        y,
        WIDE,
        "In 2025 we shall open workshops in Aarhus, Utrecht and Cork, and start to sell the Porter "
        "frame to other makers under licence. We expect revenue between £200m and £208m and an "
        "operating margin of at least 11%. — _Tomasz Wren, Chief Executive_",
        justify=True,
    )
    c.finish()


def _markets(report: Report) -> None:
    c = report.page("Markets and people", section="Strategy and performance")
    y = heading(c, 122, "Where we sell")
    y = c.table(
        LEFT,
        y,
        [171, 75, 75, 75, 75],
        [
            ["Revenue by region, £ million", "2024", "2023", "Change", "Workshops"],
            ["United Kingdom and Ireland", "71.4", "68.0", "+5.0%", "27"],
            ["Germany", "48.9", "45.2", "+8.2%", "9"],
            ["Netherlands and Belgium", "37.6", "28.1", "+33.8%", "6"],
            ["Nordic countries", "16.2", "12.4", "+30.6%", "4"],
            ["Rest of the world", "9.1", "7.9", "+15.2%", "0"],
            ["Total", "183.2", "161.6", "+13.4%", "46"],
        ],
        strong=[6],
        accent=TEAL,
    )
    y = c.paragraph(
        LEFT,
        y + 12,
        WIDE,
        "The Netherlands and Belgium grew fastest, because the city of Rotterdam ordered 620 "
        "Porter 3 bikes for its street-cleaning teams in the largest single order in our history. "
        "Outside Europe we sell through one distributor, in Japan.",
        justify=True,
    )
    y = heading(c, y + 14, "Who we are")
    y = c.table(
        LEFT,
        y,
        [171, 100, 100, 100],
        [
            ["People at 31 December 2024", "Number", "Of them women", "Left in the year"],
            ["Assembly", "268", "31%", "7.1%"],
            ["Service workshops", "131", "24%", "11.5%"],
            ["Engineering and design", "94", "38%", "4.3%"],
            ["Sales and marketing", "74", "51%", "9.5%"],
            ["Administration", "45", "58%", "6.7%"],
            ["Total", "612", "35%", "8.0%"],
        ],
        strong=[6],
        accent=TEAL,
    )
    y = c.paragraph(
        LEFT,
        y + 12,
        WIDE,
        "We trained 58 apprentices in the year, 19 more than in 2023, and all but three of those "
        "who finished stayed. There were four reportable accidents (2023: seven). The median pay "
        "gap between men and women was 3.9% (2023: 5.2%). Every permanent employee takes part in "
        "the share plan after one year.",
        justify=True,
    )
    y = heading(c, y + 14, "The board")
    c.table(
        LEFT,
        y,
        [171, 180, 120],
        [
            ["Director", "Role", "On the board since"],
            ["Marguerite Osei-Lindqvist", "Chair", "2014"],
            ["Tomasz Wren", "Chief Executive", "2019"],
            ["Henrik Aalto", "Finance Director", "2014"],
            ["Ruth Ellery", "Chair of the audit committee", "2017"],
            ["Daniyar Seitkali", "Independent director", "2021"],
            ["Imogen Farrow-Pryce", "Elected by the employees", "2023"],
        ],
        aligns="lll",
        accent=TEAL,
    )
    c.finish()


def _quality(report: Report) -> None:
    c = report.page("Quality and climate", section="Strategy and performance")
    y = heading(c, 122, "Warranty claims")
    y = c.paragraph(
        LEFT,
        y,
        WIDE,
        "Claims have fallen in each of the last six quarters. The steepest part of the fall "
        "follows the move to sealed bottom brackets in the third quarter of 2023.",
        justify=True,
    )
    c.text(LEFT, y + 26, "Warranty claims per 1,000 bikes in use, by quarter", size=9.5, style=1)
    quarters = [f"Q{q} {y}" for y in (22, 23, 24) for q in (1, 2, 3, 4)]
    claims = [41, 39, 44, 38, 35, 36, 33, 29, 26, 24, 21, 18]
    lines(
        c,
        Frame(LEFT + 24, y + 50, WIDE - 24, 150, top=50, steps=5),
        quarters,
        [claims],
        [CORAL],
        marked=[0, 2, 11],
    )
    y = heading(c, y + 232, "Carbon")
    y = c.paragraph(
        LEFT,
        y,
        WIDE,
        "Making and delivering one bike caused 154 kg of carbon dioxide equivalent in 2024, 27% "
        "less than in 2020. Nearly half of what remains is aluminium. From 2026 all Porter frames "
        "will be made of at least 70% recycled metal, smelted in Norway with hydropower. Our goal "
        "for 2028 is 120 kg.",
        justify=True,
    )
    c.text(LEFT, y + 26, "Carbon footprint of one bike, kg CO2e", size=9.5, style=1)
    bars(
        c,
        Frame(LEFT + 24, y + 48, 300, 130, top=240),
        [*YEARS, "Goal 2028"],
        [[212, 203, 188, 171, 154, 120]],
        [TEAL],
    )
    x = LEFT + 350
    c.box(x, y + 40, 121, 160, fill=rgb("eef4f3"), radius=0.04)
    c.text(x + 12, y + 62, "Where it comes from", size=9, style=1)
    for i, (name, share) in enumerate(
        [
            ("Aluminium", "47%"),
            ("Battery", "21%"),
            ("Transport", "14%"),
            ("Assembly", "10%"),
            ("Tyres, other", "8%"),
        ]
    ):
        c.text(x + 12, y + 86 + 22 * i, name, size=9)
        c.text(x + 109, y + 86 + 22 * i, share, size=9, style=1, colour=TEAL, align="right")
    c.finish()


def _risks(report: Report) -> None:
    c = report.page("Principal risks", section="Governance")
    y = c.paragraph(
        LEFT,
        128,
        WIDE,
        "The board reviews these risks twice a year. The last column says how a risk "
        "has moved since the last report.",
        size=10,
    )
    risks = [
        (
            "Battery supply",
            "Two makers supply all our cells, both in one province.",
            "A third supplier, in Hungary, delivers from September 2025. Stock covers 14 weeks.",
            "lower",
        ),
        (
            "Product safety",
            "A faulty part can hurt a rider and our name.",
            "Every frame and fork is pulled to 1.8 times its rated load. Recalls are rehearsed.",
            "level",
        ),
        (
            "Subsidy changes",
            "Grants for cargo bikes exist in six of our markets.",
            "No market's grant stands behind more than 9% of revenue.",
            "higher",
        ),
        (
            "Exchange rates",
            "We earn 61% of revenue in euros and spend in pounds.",
            "Half of the next twelve months' euro income is sold forward.",
            "level",
        ),
        (
            "Cyber attack",
            "The Whitehaven line stops without its planning system.",
            "Offline plans for ten days. An outside team tests our defences each spring.",
            "higher",
        ),
        (
            "Key people",
            "Frame design rests on a team of nine.",
            "Pay linked to five-year results; two successors named for each post.",
            "lower",
        ),
    ]
    y += 14
    for name, what, answer, move in risks:
        c.rule(LEFT, y, LEFT + WIDE, y, colour=TEAL, thick=0.8)
        c.text(LEFT, y + 19, name, size=10.5, style=1, colour=TEAL)
        c.paragraph(LEFT + 112, y + 7, 150, what, size=9.5)
        c.paragraph(LEFT + 276, y + 7, 145, answer, size=9.5)
        colour = {"lower": TEAL, "higher": CORAL, "level": MUTED}[move]
        c.text(LEFT + WIDE, y + 19, move, size=9.5, style=1, colour=colour, align="right")
        y += 74
    c.finish()
