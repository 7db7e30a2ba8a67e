#!/usr/bin/env python3
"""Counts the instructions that deciding requests and masking answers takes, and compares with those on record.

A case fails when it takes over 10 % more than the record says. `--record` writes the record anew: commit it together
with the change that moved it. Both run the `dev` profile, whose libraries `make test` has built already, with our own
code optimized as they are; for how fast a release is see `make bench`. Needs valgrind (Debian package `valgrind`).

usage: tests/tools/instructions.py [--record]
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benches/record/instructions.json"
MORE_MAX = 1.10
# Two runs of one program differ by less than a tenth of this.
NOTABLE = 0.02


def program():
    optimized = ["--config", "profile.dev.package.portcullis.opt-level=1"]
    build = ["cargo", "bench", "--quiet", "--locked", "--profile", "dev", *optimized, "--bench", "instructions", "--no-run"]
    messages = subprocess.run([*build, "--message-format=json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    built = [json.loads(line) for line in messages.stdout.splitlines() if line.startswith("{")]
    # The program itself is built along, and comes before or after.
    return next(it["executable"] for it in built if it.get("executable") and "bench" in it["target"]["kind"])


def count(executable, case):
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"]
    run = subprocess.run([*callgrind, executable, case], capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not collected or int(collected[1]) == 0:
        sys.exit(f"{case}: callgrind counted nothing\n{run.stderr}")
    return int(collected[1])


def main():
    executable = program()
    listed = subprocess.run([executable, "--list"], check=True, stdout=subprocess.PIPE, text=True)
    cases = {name: (int(amount), unit) for name, amount, unit in (line.split("\t") for line in listed.stdout.splitlines())}
    with ThreadPoolExecutor(2) as pool:
        counts = dict(zip(cases, pool.map(lambda case: count(executable, case), cases)))
    if sys.argv[1:] == ["--record"]:
        RECORD.write_text(json.dumps(counts, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    failed = 0
    for case, counted in counts.items():
        before = record.get(case)
        change = counted / before - 1 if before else 0
        verdict = "passed"
        if before is None:
            failed, verdict = failed + 1, "FAILED: not on record; run tests/tools/instructions.py --record"
        elif counted > before * MORE_MAX:
            failed, verdict = failed + 1, "FAILED: if it has to be so, run tests/tools/instructions.py --record"
        elif abs(change) > NOTABLE:
            verdict = "passed, but it moved: record it"
        amount, unit = cases[case]
        print(f"{counted:>12} instructions, {counted / amount:8.1f} a {unit}, {change:+7.2%}  {case}: {verdict}")
    print(f"{len(counts) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
