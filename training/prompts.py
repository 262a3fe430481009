"""Writes the test prompts: a JSONL file with GenEval-style metadata and a plain text file, one caption a line."""
import argparse
import json
from pathlib import Path

from captions import test_prompts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for prompts.jsonl and prompts.txt")
    parser.add_argument("--per-task", type=int, default=20)
    args = parser.parse_args()
    rows = test_prompts(args.per_task)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (args.out / "prompts.txt").write_text("".join(row["caption"] + "\n" for row in rows))


if __name__ == "__main__":
    main()
