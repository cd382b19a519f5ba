"""The financial statements of the annual report. Every sum adds up."""

from __future__ import annotations

from samples.canvas import INK, MUTED
from samples.report_page import CORAL, LEFT, TEAL, WIDE, Report

STATEMENT = [241, 60, 85, 85]


def income(report: Report) -> None:
    c = report.page("Consolidated income statement", section="Financial statements")
    c.text(LEFT, 132, "for the year ended 31 December 2024", size=10, colour=MUTED)
    y = c.table(
        LEFT,
        152,
        STATEMENT,
        [
            ["£ million", "Note", "2024", "2023"],
            ["Revenue", "1", "183.2", "161.6"],
            ["Cost of sales", "", "(118.7)", "(106.9)"],
            ["Gross profit", "", "64.5", "54.7"],
            ["Research and development", "2", "(9.6)", "(8.1)"],
            ["Selling and distribution", "", "(21.4)", "(19.2)"],
            ["Administration", "", "(13.8)", "(12.5)"],
            ["Operating profit", "", "19.7", "14.9"],
            ["Finance costs", "", "(1.9)", "(2.2)"],
            ["Profit before tax", "", "17.8", "12.7"],
            ["Income tax", "3", "(4.3)", "(3.0)"],
            ["Profit for the year", "", "13.5", "9.7"],
        ],
        strong=[3, 7, 9, 11],
        accent=TEAL,
        size=10,
        row_height=22,
        aligns="lcrr",
    )
    y = c.table(
        LEFT,
        y + 26,
        STATEMENT,
        [
            ["Per share", "Note", "2024", "2023"],
            ["Basic earnings, pence", "4", "30.0", "21.6"],
            ["Diluted earnings, pence", "4", "29.3", "21.2"],
            ["Dividend, pence", "4", "9.0", "7.0"],
            ["Weighted number of shares, million", "", "45.0", "44.9"],
        ],
        accent=TEAL,
        size=10,
        row_height=22,
        aligns="lcrr",
    )
    c.paragraph(
        LEFT,
        y + 24,
        WIDE,
        "Cost of sales includes £0.6m for the recall of the City 5. Research and development of "
        "£3.2m that met the conditions was capitalised and is not part of the charge above.",
        size=9.5,
        colour=MUTED,
    )
    c.finish()


def balance(report: Report) -> None:
    c = report.page("Consolidated balance sheet", section="Financial statements")
    c.text(LEFT, 132, "at 31 December 2024", size=10, colour=MUTED)
    c.table(
        LEFT,
        152,
        STATEMENT,
        [
            ["£ million", "Note", "2024", "2023"],
            ["Property, plant and equipment", "5", "48.6", "44.2"],
            ["Intangible assets", "2", "12.4", "10.9"],
            ["Right-of-use assets", "", "8.3", "9.1"],
            ["Non-current assets", "", "69.3", "64.2"],
            ["Inventories", "6", "31.7", "38.5"],
            ["Trade and other receivables", "", "22.9", "20.6"],
            ["Cash and cash equivalents", "", "26.8", "14.1"],
            ["Current assets", "", "81.4", "73.2"],
            ["Total assets", "", "150.7", "137.4"],
            ["Trade and other payables", "", "27.6", "25.9"],
            ["Provision for warranties", "7", "5.2", "6.1"],
            ["Borrowings", "8", "22.0", "27.5"],
            ["Lease liabilities", "", "8.8", "9.5"],
            ["Total liabilities", "", "63.6", "69.0"],
            ["Net assets", "", "87.1", "68.4"],
            ["Share capital and premium", "", "30.2", "21.8"],
            ["Retained earnings", "", "56.9", "46.6"],
            ["Total equity", "", "87.1", "68.4"],
        ],
        strong=[4, 8, 9, 14, 15, 18],
        accent=TEAL,
        size=10,
        row_height=22,
        aligns="lcrr",
    )
    c.paragraph(
        LEFT,
        600,
        WIDE,
        "Approved by the board on 11 March 2025 and signed on its behalf by Tomasz Wren and "
        "Henrik Aalto. Auditor: Calloway Strand LLP, Carlisle.",
        size=9.5,
        colour=MUTED,
    )
    c.finish()


def cash(report: Report) -> None:
    c = report.page("Cash flow and notes", section="Financial statements")
    y = c.table(
        LEFT,
        126,
        STATEMENT,
        [
            ["£ million", "Note", "2024", "2023"],
            ["Cash generated from operations", "", "34.7", "17.3"],
            ["Interest paid", "", "(1.9)", "(2.2)"],
            ["Tax paid", "", "(4.5)", "(2.8)"],
            ["Net cash from operating activities", "", "28.3", "12.3"],
            ["Purchase of plant and equipment", "5", "(10.5)", "(6.4)"],
            ["Capitalised development", "2", "(3.2)", "(2.6)"],
            ["Shares placed", "", "8.4", "0.0"],
            ["Borrowings repaid", "8", "(5.5)", "(2.0)"],
            ["Lease payments", "", "(1.6)", "(1.5)"],
            ["Dividends paid", "4", "(3.2)", "(2.7)"],
            ["Increase (decrease) in cash", "", "12.7", "(2.9)"],
        ],
        strong=[4, 11],
        accent=TEAL,
        row_height=17,
        aligns="lcrr",
    )
    y += 14
    for number, title, text in [
        (
            1,
            "Revenue",
            "Revenue is recognised when a bike is handed over. Service plans are spread "
            "over their term; £6.3m of payments received is deferred to later years (2023: £4.8m).",
        ),
        (
            2,
            "Development",
            "Capitalised development is written off over five years. The Porter 3 "
            "accounts for £4.1m of the £12.4m of intangible assets.",
        ),
        (
            3,
            "Tax",
            "The effective rate was 24.2% (2023: 23.6%). It is below the standard rate of "
            "25% because of relief for research.",
        ),
        (
            5,
            "Plant",
            "Additions of £10.5m include £7.9m for the second assembly line in Whitehaven, "
            "which is depreciated over twelve years.",
        ),
        (
            6,
            "Inventories",
            "Finished bikes £14.9m, parts and materials £13.6m, work in progress "
            "£3.2m. Write-downs in the year came to £0.9m.",
        ),
        (
            7,
            "Warranties",
            "Opening balance £6.1m, added £3.4m, used £4.3m, closing balance £5.2m. "
            "Frames carry a warranty of ten years, motors and batteries one of three.",
        ),
        (
            8,
            "Borrowings",
            "A term loan from Solway Bank at 1.85 percentage points over SONIA, repaid "
            "in quarterly steps until September 2028. Its covenant limits net debt to 2.5 times "
            "EBITDA; at the year end it was below zero.",
        ),
    ]:
        c.text(LEFT, y + 11, f"{number}", size=10, style=1, colour=CORAL)
        c.text(LEFT + 18, y + 11, title, size=10, style=1, colour=INK)
        y = c.paragraph(LEFT + 100, y + 1, WIDE - 100, text, size=9.5) + 8
    c.finish()
