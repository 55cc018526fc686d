"""Compression on real models and data, held to the bars of each case."""

import argparse
from pathlib import Path

from compress_cases import NAMES, case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--prepare", type=Path)
    options = parser.parse_args()
    for name in options.cases or NAMES:
        print(case(name).prepared(options.prepare / name), flush=True)


if __name__ == "__main__":
    main()
