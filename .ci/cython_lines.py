"""Which lines of Cython have run, from what gcov counted: `python .ci/cython_lines.py build/coverage [--missing]`.

Line tracing takes the GIL at each line, so code that runs without it, under locks of its own or on threads that never see Python, can't be traced.
gcov counts the lines of C, in all threads and processes, and Cython writes in front of each piece of C which line of which source it stands for. So
a line of Cython has run when any of its C has. C headers of the project are counted by their own lines.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MARK = re.compile(r'\s*/\* "(?P<file>[^"]+)":(?P<line>\d+)$')
DECLARED = re.compile(r"\s*(cdef (class|struct|union|enum|readonly|public)\b|@)")  # makes C, but no step
END = re.compile(r"\s*/\* (function exit code|#### Code section|--- Runtime)")

Lines = dict[int, bool]  # by number: whether it has run


def sources_of(c_file: Path) -> dict[int, tuple[str, int]]:
    """The source line that each line of a generated C file stands for."""
    stands_for: dict[int, tuple[str, int]] = {}
    current = None
    for number, text in enumerate(c_file.read_text().splitlines(), 1):
        if mark := MARK.match(text):
            current = mark["file"], int(mark["line"])
        elif END.match(text):
            current = None
        elif current is not None:
            stands_for[number] = current
    return stands_for


def counted(tree: Path) -> dict[str, Lines]:
    """The lines of every source below `tree` that could run, by file."""
    found: dict[str, Lines] = defaultdict(dict)
    for notes in sorted((tree / "build").rglob("*.gcno")):
        command = ["gcov", "--json-format", "--stdout", str(notes.relative_to(tree))]
        told = subprocess.run(command, cwd=tree, capture_output=True, check=True).stdout
        for about in json.loads(told)["files"]:
            path = about["file"]
            if Path(path).is_absolute() or not (tree / path).exists():
                continue
            stands_for = sources_of(tree / path) if path.endswith(".c") else None
            for line in about["lines"]:
                name, number = (path, line["line_number"]) if stands_for is None else stands_for.get(line["line_number"], ("", 0))
                if name and (tree / name).exists() and not Path(name).is_absolute():
                    found[name][number] = found[name].get(number, False) or line["count"] > 0
    for name, lines in found.items():
        texts = (tree / name).read_text().splitlines()
        for number in [number for number in lines if number <= len(texts) and DECLARED.match(texts[number - 1])]:
            del lines[number]
    return {name: lines for name, lines in found.items() if lines}


def ranges(numbers: list[int]) -> str:
    """`3-5, 9`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tree", type=Path, help="where the counting build and its sources are")
    parser.add_argument("--missing", action="store_true", help="show the lines that have not run")
    options = parser.parse_args()
    files = counted(options.tree)
    if not files:
        print(f"nothing was counted in {options.tree}", file=sys.stderr)
        return 1
    width = max(map(len, files))
    print(f"{'Cython and C':{width}} {'Lines':>6} {'Miss':>6} {'Cover':>6}")
    lines = missed = 0
    for name, ran in sorted(files.items()):
        missing = sorted(number for number, done in ran.items() if not done)
        lines += len(ran)
        missed += len(missing)
        shown = f"  {ranges(missing)}" if options.missing else ""
        print(f"{name:{width}} {len(ran):6} {len(missing):6} {100 - 100 * len(missing) / len(ran):5.0f}%{shown}")
    print(f"{'TOTAL':{width}} {lines:6} {missed:6} {100 - 100 * missed / lines:5.0f}%")
    return 0


if __name__ == "__main__":
    sys.exit(main())
