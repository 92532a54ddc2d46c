#!/usr/bin/env python3
"""Every source file of the tree is in the build: a test that no CMake file names would never run, and nobody would see.

Usage: all_built.py BUILD/compile_commands.json [PREFIX ...]     PREFIX: what this build leaves out on purpose
"""
import json
import pathlib
import sys

ROOMS = ["engine", "kernels", "proto", "scheduler", "server", "tests"]


def main():
    root = pathlib.Path.cwd()
    built = {pathlib.Path(c["directory"], c["file"]).resolve() for c in json.load(open(sys.argv[1]))}
    sources = [p for room in ROOMS for p in pathlib.Path(room).rglob("*") if p.suffix in {".cc", ".cu"}]
    missing = [str(p) for p in sources if root / p not in built and not str(p).startswith(tuple(sys.argv[2:]))]
    print("\n".join(f"{p}: no CMake file builds it" for p in sorted(missing)) or f"{len(sources)} sources are built")
    return 1 if missing or len(sources) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
