"""Adds up what the stages of tests/run counted: Check's own lines, pytest's junit files, and one for each
fuzz target."""
import glob
import os
import re
import sys
import xml.etree.ElementTree as xml

folder = sys.argv[1]
passed = failed = skipped = 0
for path in sorted(glob.glob(os.path.join(folder, "unit-*.log"))):
    text = open(path, encoding="utf-8", errors="replace").read()
    checks = bad = 0
    for total, failures, errors in re.findall(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", text):
        checks += int(total)
        bad += int(failures) + int(errors)
    programs_bad = len(re.findall(r"^ *\d+/\d+ Test .*\*\*\*(?!Skipped)", text, re.M))
    skips = len(re.findall(r"^\d+: SKIP", text, re.M))
    bad = max(bad, programs_bad)
    print(f"{os.path.basename(path)[:-4]}: {checks - bad} passed, {bad} failed, {skips} skipped")
    if checks == 0:
        print("no unit test ran")
        failed += 1
    passed, failed, skipped = passed + checks - bad, failed + bad, skipped + skips
for path in sorted(glob.glob(os.path.join(folder, "py-*.xml"))):
    total = bad = skips = 0
    for suite in xml.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests"))
        bad += int(suite.get("failures")) + int(suite.get("errors"))
        skips += int(suite.get("skipped"))
    print(f"{os.path.basename(path)[3:-4]}: {total - bad - skips} passed, {bad} failed, {skips} skipped")
    passed, failed, skipped = passed + total - bad - skips, failed + bad, skipped + skips
for path in glob.glob(os.path.join(folder, "fuzz.log")):
    text = open(path, encoding="utf-8", errors="replace").read()
    good = len(re.findall(r"^fuzz/\w+: ok", text, re.M))
    bad = len(re.findall(r"^fuzz/\w+: FAILED", text, re.M)) + (0 if good else 1)
    runs = sum(map(int, re.findall(r"^fuzz/\w+: ok, (\d+) runs", text, re.M)))
    print(f"fuzz: {good} passed, {bad} failed, {runs} inputs run")
    passed, failed = passed + good, failed + bad
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
