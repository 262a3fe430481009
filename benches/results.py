#!/usr/bin/env python3
"""Writes the tables of RESULTS.md from the runs in `runs/`; `--check` only says whether they are up to date.

A table stands between `<!-- table RUN NAME -->` and `<!-- end -->`, where `runs/RUN.json` has a table NAME. Its rows are objects,
and every column is a key of theirs. A value is a number, a text, or a list, which the row's or the column's `show` formats. Two
columns are worked out: `goal` is marked as missed where the ratio is above it, and a `pair` becomes `ours / theirs = ratio`. What
`against_torch.py --json` writes is a run too, with one table named `ratios`.
"""

import argparse
import json
import pathlib
import re
import sys
from decimal import Decimal

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
TABLE = re.compile(r"(<!-- table (\S+) (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def read(run):
    """A run; decimals keep the digits they are written with."""
    return json.loads((HERE / "runs" / f"{run}.json").read_text(), parse_float=Decimal)


def tables(run):
    """The tables of a run."""
    if "tables" in run:
        return run["tables"]
    rows = [
        {"what": name, "ttsvar": f"{ours:.4f}", "pytorch": f"{theirs:.4f}", "ratio": f"{run['ratios'][name]:.2f}"}
        for name, (ours, theirs) in run["seconds"].items()
    ]
    columns = {"what": "", "ttsvar": "ttsvar, s", "pytorch": "PyTorch, s", "ratio": "ratio"}
    return {"ratios": {"columns": columns, "rows": rows}}


def ratio(value):
    """The ratio in a cell: the third value of a pair, otherwise the first or only one."""
    if isinstance(value, list):
        return value[2] if len(value) == 3 else value[0]
    return value


def cell(about, row, key):
    """One value as text."""
    value = row.get(key)
    if value is None:
        return ""
    if key.startswith("goal"):
        # The goal of `ratio`, or of the column named after the dash.
        reached = ratio(row[key.partition("-")[2] or "ratio"])
        return f"{value}, missed" if reached > value else str(value)
    values = value if isinstance(value, list) else [value]
    show = row.get("show", {}).get(key) or about.get("show", {}).get(key)
    if show:
        return show.format(*values)
    if about["columns"][key].startswith("pair ") and len(values) == 3:
        return "{} / {} = {}".format(*values)
    return ", ".join(str(value) for value in values)


def table(about):
    """A table in Markdown, without its markers."""
    columns = about["columns"]
    heads = [head.removeprefix("pair ") for head in columns.values()]
    body = [[cell(about, row, key) for key in columns] for row in about["rows"]]
    head, *rows = ["".join(f"| {text} " if text else "| " for text in line) + "|" for line in [heads, *body]]
    first = "|---:|" if isinstance(about["rows"][0][next(iter(columns))], int) else "|---|"
    return "\n".join([head, first + "---:|" * (len(heads) - 1), *rows]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a table is not what the runs say")
    check = parser.parse_args().check
    before = RESULTS.read_text()
    after = TABLE.sub(lambda found: found[1] + table(tables(read(found[2]))[found[3]]) + found[4], before)
    if after == before:
        return
    if check:
        sys.exit("benches/RESULTS.md: tables differ from benches/runs\nhint: run `python3 benches/results.py`")
    RESULTS.write_text(after)


if __name__ == "__main__":
    main()
