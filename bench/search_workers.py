"""8 processes search one study of 5,000 points, some killed: duplicates, losses and zombies.

    python bench/search_workers.py [--points 5000] [--workers 8] [--kills 4] [--sampler tpe]
                                   [--storages journal postgresql sqlite]

Training is a formula; all else is as in a search: asked under the study's lock, points published,
rows written to the store, each batch an extension, the mirror in Optuna brought up to it. The
database is PostgreSQL from the distribution, private, in a temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))

from private_postgres import storage_url
from search_workers import search_together, searched_sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--storages", nargs="+", default=["journal", "postgresql"])
    args = parser.parse_args()
    print(f"{args.workers} processes, {args.points:,} points by {args.sampler} in batches of")
    print(f"{args.batch}, {args.kills} processes killed under way")
    print(
        f"{'storage':12}{'wall s':>8}{'points':>8}{'twice':>7}{'open*':>7}{'lost':>6}"
        f"{'mirrored':>10}{'twice':>7}{'missing':>9}{'zombies':>9}{'wrong':>7}"
    )
    for name in args.storages:
        with tempfile.TemporaryDirectory() as folder, storage_url(name, Path(folder)) as url:
            sweep = searched_sweep(args.points, args.sampler, url, args.batch)
            seen = search_together(sweep, Path(folder) / "s", args.workers, args.batch, args.kills)
        told = seen.mirrored["COMPLETE"] + seen.mirrored["PRUNED"]
        print(
            f"{name:12}{seen.wall_s:8.0f}{seen.points:8,}{seen.duplicates:7}"
            f"{seen.open_after_kills:7}{seen.lost:6}{told:10,}{seen.mirrored_twice:7}"
            f"{seen.not_mirrored:9}{seen.zombies:9}{seen.wrong:7}",
            flush=True,
        )
    print("* asked by processes that were killed before they had trained them; trained at the end")


if __name__ == "__main__":
    main()
