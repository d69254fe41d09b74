"""How fast a log of reviews is read: `python benchmarks/read_yelp.py [reviews] [--gzip]`, 3,000,000 by default.

Writes a made-up yelp_academic_dataset_review.json into a temporary folder (about 2.4 GB for 3,000,000 reviews), reads,
filters and splits it in a process of its own, and prints the seconds and the peak memory of that process (Linux).
Then once more, from the cache of sequences. The file is removed.
"""

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

READ = """
import sys, time
started = time.perf_counter()
from chord_fl.config import DataConfig
from chord_fl.data.dataset import load
from chord_fl.data.interactions import held_out, recent
dataset = load(DataConfig(name="yelp", path=sys.argv[1], data_dir=sys.argv[2]))
everyone = dataset.slice(0, dataset.users)
held_out(everyone, 0), held_out(everyone, 1), recent(everyone, 2, 50)
# the peak of this program alone; getrusage would count the one that started it
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{dataset.users:,} users, {dataset.items:,} items, {len(everyone.items):,} interactions after the filter: "
      f"{time.perf_counter() - started:.1f} s,",
      f"peak {int(peak) / 2**20:.2f} GiB")
"""


def identifier(number: int) -> str:
    """22 characters, as Yelp's."""
    return f"{number * 2654435761 % 2**64:022d}"


def write(path: Path, reviews: int, packed: bool) -> None:
    """A file of reviews whose users and items fall off as in Yelp's: most have few, some have very many."""
    draw = np.random.default_rng(0)
    people, places = max(reviews * 2 // 7, 10), max(reviews // 47, 10)  # as in the release of 2022
    users = (people * draw.random(reviews) ** 3).astype(int).tolist()
    items = (places * draw.random(reviews) ** 2).astype(int).tolist()
    seconds = draw.integers(1.1e9, 1.64e9, reviews).astype("datetime64[s]").astype(str).tolist()
    words = [f"word{number}" for number in range(5000)]
    random.seed(0)
    texts = [json.dumps(" ".join(random.choices(words, k=75)) + ' "good"\n\nvery é') for _ in range(1000)]
    with gzip.open(path, "wt", compresslevel=1) if packed else path.open("w") as file:
        for number in range(reviews):
            file.write(
                f'{{"review_id":"{identifier(number)}","user_id":"{identifier(users[number])}",'
                f'"business_id":"{identifier(items[number] + 10**9)}","stars":4.0,"useful":0,"funny":0,"cool":0,'
                f'"text":{texts[number % 1000]},"date":"{seconds[number].replace("T", " ")}"}}\n'
            )


def main() -> None:
    """Write, read twice, print."""
    numbers = [argument for argument in sys.argv[1:] if argument != "--gzip"]
    reviews, packed = int(numbers[0]) if numbers else 3_000_000, "--gzip" in sys.argv
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / ("yelp_academic_dataset_review.json" + (".gz" if packed else ""))
        started = time.perf_counter()
        write(path, reviews, packed)
        size = path.stat().st_size / 2**30
        print(f"{reviews:,} reviews, {size:.2f} GiB, written in {time.perf_counter() - started:.0f} s", flush=True)
        for what in ("the file", "the cache"):
            print(f"from {what}: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", READ, str(path), temporary], check=True)


if __name__ == "__main__":
    main()
