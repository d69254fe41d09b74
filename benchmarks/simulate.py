"""How fast and how big: `python benchmarks/simulate.py [part ...]` prints a line per measurement.

Parts: `ml100k` (the main job from nothing, then with its checkpoint), `scale` (10,000 synthetic devices, and the rate
at 2,000 and 50,000), `cohorts` (against one node per device), `epoch` (CHORD against full precision), `life` (10,000
devices that live through virtual time against plain ones). All by default; the whole takes about twelve minutes on two
cores. Every run is the command line's, in a process of its own, with checkpoints in a temporary folder.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

LOST = ("offline", "dropped", "late", "lost", "corrupted", "battery", "cannot_hold")  # statuses
PARTS = ("ml100k", "scale", "cohorts", "epoch", "life")


@dataclass
class Watched:
    """What was seen of a process and everything that it started."""

    peak: int = 0  # most memory, bytes
    cpu: list[float] = field(default_factory=list)  # processor seconds of all until the end of each round

    @property
    def cpu_per_round(self) -> float:
        """The median; that of the first round is not known, since the start of the engine precedes it."""
        return statistics.median(after - before for before, after in zip(self.cpu, self.cpu[1:], strict=False))


def run(folder: Path, command: str, *arguments: str) -> tuple[float, Watched, dict[str, Any]]:
    """Run `chord-fl command`; returns seconds, what was seen of its processes, and its summary."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "run"
    flags = [*arguments, "--checkpoint", str(folder / "checkpoint")]
    if command == "simulate":
        flags += ["--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "simulations.cli", command, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen = Watched()
    watcher = threading.Thread(target=_watch, args=(process, out / "rounds.csv", seen))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    watcher.join()
    if code:
        raise SystemExit(f"{command} {' '.join(flags)} exited with {code}")
    if command != "simulate":
        return seconds, seen, {}
    summary = json.loads((out / "summary.json").read_text())
    # a single round is at the mercy of whatever else the machine does: the median of the run's rounds
    summary["devices_per_second"] = float(pd.read_csv(out / "rounds.csv")["devices_per_second"].median())
    return seconds, seen, summary


def _watch(process: subprocess.Popen[bytes], rounds: Path, seen: Watched) -> None:
    """Memory twice a second; processor time whenever a line is added to `rounds`, a file with a line of heads."""
    weighed = 0.0
    while process.poll() is None:
        if time.monotonic() - weighed > 0.5:
            seen.peak = max(seen.peak, sum(_of_tree(process.pid, lambda one: one.memory_full_info().pss)))
            weighed = time.monotonic()
        done = len(rounds.read_bytes().splitlines()) - 1 if rounds.exists() else 0
        if done > len(seen.cpu):
            seen.cpu.append(sum(_of_tree(process.pid, lambda one: sum(one.cpu_times()[:2]))))
        time.sleep(0.05)


def _of_tree(pid: int, figure: Callable[[psutil.Process], float]) -> list[float]:
    """`figure` of the process and everything it started. Of memory PSS: shared pages count once."""
    found = []
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                found.append(figure(process))
    except psutil.Error:
        pass
    return found


def ml100k(folder: Path) -> None:
    """The main job, from nothing and with its checkpoint."""
    seconds, _, _ = run(folder, "simulate")
    print(f"ml-100k from nothing, training included: {seconds:.0f} s (asked: under 300)")
    seconds, _, summary = run(folder, "simulate")
    startup = summary["startup_seconds"]
    print(f"ml-100k with a checkpoint: {seconds:.0f} s, of which {startup:.0f} s start-up (asked: under 40)")


def scale(folder: Path) -> None:
    """The rate of a CHORD round at three sizes, and the memory of the middle one."""
    synthetic = ("--preset", "thousands", "--epochs", "1", "--train-users", "500")
    run(folder, "train", *synthetic)
    rates = {}
    for devices in (2_000, 10_000, 50_000):
        _, seen, summary = run(folder, "simulate", *synthetic, "--devices", str(devices), "--rounds", "3")
        rates[devices] = summary["devices_per_second"]
        size = f"{seen.peak / 2**30:.2f} GiB"
        print(f"{devices:,} synthetic devices, CHORD: {rates[devices]:,.0f} devices/s after start-up, {size}")
    for devices in (2_000, 50_000):
        print(f"rate at {devices:,} / rate at 10,000: {rates[devices] / rates[10_000]:.2f} (asked: within 0.8 to 1.2)")


def cohorts(folder: Path) -> None:
    """Cohorts against one node per device, 1,000 devices."""
    synthetic = ("--preset", "thousands", "--epochs", "1", "--train-users", "500")
    run(folder, "train", *synthetic)
    _, _, together = run(folder, "simulate", *synthetic, "--devices", "1000", "--rounds", "3")
    _, _, alone = run(folder, "simulate", *synthetic, "--devices", "1000", "--devices-per-node", "1")
    ratio = together["devices_per_second"] / alone["devices_per_second"]
    print(f"cohorts / one node per device at 1,000 devices: {ratio:.1f} times faster (asked: at least 10)")


def epoch(folder: Path) -> None:
    """An epoch of CHORD against one of the same backbone with trained weights; the fastest of three each."""
    seconds = {}
    for strategy in ("chord", "static"):
        run(folder, "train", "--epochs", "3", "--strategy", strategy)
        (curve,) = folder.glob(f"checkpoint/{'chord' if strategy == 'chord' else 'full'}/training.csv")
        seconds[strategy] = pd.read_csv(curve)["seconds"].min()
        print(f"epoch of {strategy} on ml-100k: {seconds[strategy]:.2f} s")
    print(f"epoch of CHORD / full precision: {seconds['chord'] / seconds['static']:.2f} (asked: at most 3)")


def life(folder: Path) -> None:
    """10,000 devices with everything on against plain ones: budgets, states, traces, sessions, a deadline, faults."""
    rounds, synthetic = 5, ("--preset", "thousands", "--epochs", "1", "--train-users", "500")
    # a trace of somebody who is always there: who is offline computes nothing, which would flatter the rate
    traces = folder / "behave.json"
    traces.write_text(json.dumps({"1": {"active": [0], "inactive": [86_400], "finish_time": 86_400}}))
    everything = ["--constrain", "--population", "phones", "--availability", str(traces), "--interval", "3600"]
    everything += ["--dropout", "0.01", "--lost", "0.01", "--corrupted", "0.01", "--set", "faults.battery=0.01"]
    everything += ["--refresh", "cosine:0"]  # all compare their profiles and ask for a plan: no rule costs more
    everything += ["--deadline", "0.43"]  # modelled seconds: a third is late with the first download, some 3 % later
    kinds = {"plain": ("1", ["--rounds", str(rounds), "--no-constrain"]), "everything on": (str(rounds), everything)}
    for sessions, _ in kinds.values():  # sessions have a checkpoint of their own
        (folder / sessions).mkdir()
        run(folder / sessions, "train", *synthetic, "--sessions", sessions)
    wall: dict[str, list[float]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(3):  # by turns: what else the machine does hits both
        for kind, (sessions, flags) in kinds.items():
            _, seen, summary = run(folder / sessions, "simulate", *synthetic, "--sessions", sessions, *flags)
            wall[kind].append(summary["devices"] / summary["devices_per_second"])
            cpu[kind].append(seen.cpu_per_round)
            lost = {word: summary[word] for word in LOST if summary[word]}
            print(
                f"10,000 synthetic devices, {kind}: {wall[kind][-1]:.2f} s a round, {cpu[kind][-1]:.2f} s of processor"
            )
            if lost:
                print(f"  without a result in {rounds} rounds: {', '.join(f'{n} {word}' for word, n in lost.items())}")
    plain, full = (statistics.median(wall[kind]) for kind in kinds)
    print(f"a round with everything on / a plain round: {full / plain:.2f} (asked: at most 1.3)")
    plain, full = (statistics.median(cpu[kind]) for kind in kinds)
    print(f"the same in processor time: {full / plain:.2f}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"unknown part {part!r}; there are: {', '.join(PARTS)}")
        with tempfile.TemporaryDirectory() as temporary:
            {"ml100k": ml100k, "scale": scale, "cohorts": cohorts, "epoch": epoch, "life": life}[part](Path(temporary))
