"""Documents of everyday work, and questions that they answer or nearly do: ``python -m
eval.workplace OUT`` draws them.

Public sets of questions are about reports and receipts. These are manuals, data sheets, price
lists, timetables, policies and contracts, several of a kind, so that the nearest wrong answer is
always there: another product's, another year's, another step's.
"""
