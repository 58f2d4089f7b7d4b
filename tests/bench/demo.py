"""The demo job twice, with its bars: ``python tests/bench/demo.py``.

Prints the job time of an empty cache; for the second run the time besides benchmarks and how many
calibration and accuracy passes it made; and the peak memory of the process tree (PSS).
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def run(out: Path) -> tuple[float, int]:
    """Run the demo job; return seconds and the peak PSS in bytes."""
    command = [Path(sys.executable).parent / "mpj", "run", ROOT / "examples/demo/job.yaml"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--out", out], stdout=subprocess.DEVNULL)
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], pss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"mpj run ended with {code}: see {out}")
    return seconds, peak[0]


def pss(pid: int) -> int:
    """Return the proportional set size of a process and all below it, in bytes."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main() -> None:
    """Run twice and print."""
    with tempfile.TemporaryDirectory(prefix="mpj-bench-") as folder:
        out = Path(folder) / "out"
        first, peak = run(out)
        report = json.loads((out / "report.json").read_text())
        print(f"first run       {first:7.1f} s   (bar 240)")
        print(f"peak PSS        {peak / 2**30:7.2f} GiB (bar 4)")
        second, _ = run(out)
        again = json.loads((out / "report.json").read_text())
        ran = [step for step in again["provenance"] if not step["cached"]]
        measuring = sum(step["seconds"] for step in ran if step["step"] == "benchmark")
        print(f"second run      {second:7.1f} s   of which benchmarks {measuring:.1f} s")
        print(f"  besides them  {second - measuring:7.1f} s   (bar 15)")
        for name in ("calibrate", "eval"):
            print(f"  {name:<13} {sum(step['step'] == name for step in ran):7d}     (bar 0)")
    best = report["best"]
    print(f"best: {best['name']}: {best['reason']}")


if __name__ == "__main__":
    main()
