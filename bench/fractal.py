"""The fractal of trainability, 192 x 192 pixels of 100 steps: phasecube against a script by hand.

    python bench/fractal.py [--side 192] [--only NAME ...]

One hidden layer of 8 tanh units, 72 points, full batch, float64, a learning rate for each
layer; all pixels share data and start. Each contender is a process of its own with one
torch thread a process; seconds are of the whole process, imports included, beside its CPU
time, which other programs disturb less. phasecube plans, trains, writes and closes its
store. The scripts keep the loss of every step and nothing else: `by_hand` has its gradient
written out and works in place, `autograd` is what one writes first. Both are stacked, in
chunks that stay in the cache. `same` is the share of pixels with the label of `by_hand`: in
the fractal part of the map a label hangs on the last bit.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 256
TAIL = 20
STEPS = 100
LEAST, MOST = 1e-3, 1e6


def phasecube_command(side: int, folder: Path, processes: int) -> list[str]:
    """Write the sweep file; return the command that plans, trains and stores."""
    sweep = folder / "fractal.toml"
    axis = f"geometric = {{ start = {LEAST}, stop = {MOST}, count = {side} }}"
    sweep.write_text(
        f"""
name = "fractal"
experiment = "trainability_fractal"
[fixed]
steps = {STEPS}
[axes.lr_layer1]
{axis}
[axes.lr_layer0]
{axis}
[record]
measures = ["train_loss"]
steps = {list(range(STEPS - TAIL + 1, STEPS + 1))}
dtype = "float64"
[resources]
pack_size = 512
lanes = 512
"""
    )
    run = [sys.executable, "-m", "phasecube", "run", str(sweep), "--study", str(folder / "study")]
    return [*run, "--processes", str(processes)]


def labels_of(folder: Path) -> np.ndarray:
    """Return what a script saved, or what the cube says."""
    if (folder / "labels.npy").exists():
        return np.load(folder / "labels.npy")
    import phasecube
    from phasecube.analysis.lr.stability import StabilityRule, stable

    rule = StabilityRule("locally_stable", tail=TAIL)
    holds = stable(phasecube.open(folder / "study"), "train_loss", rule)
    return holds.transpose("lr_layer1", "lr_layer0").values == 1


def by_script(side: int, chunk_losses: Callable[..., list[Tensor]]) -> np.ndarray:
    """Train all pixels chunk by chunk, in the order of the map's rows."""
    import torch

    from phasecube.engine.allocator import keep_large_blocks
    from phasecube.engine.experiments.trainability_fractal import (
        TrainabilityFractal,
        TrainabilityFractalParams,
    )
    from phasecube.engine.streams import Stream

    torch.set_num_threads(1)
    keep_large_blocks()
    experiment, params = TrainabilityFractal(), TrainabilityFractalParams()
    model = experiment.model(params).double()
    experiment.init(model, params, Stream(0))
    data = experiment.data(params, Stream(0))
    w0_HD, w1_1H = (w.detach() for w in model.parameters())
    lr = torch.from_numpy(np.geomspace(LEAST, MOST, side))
    lr1_N, lr0_N = (t.reshape(-1) for t in torch.meshgrid(lr, lr, indexing="ij"))
    losses = []
    for start in range(0, side * side, CHUNK):
        at = slice(start, start + CHUNK)
        found = chunk_losses(data["x"], data["y"], w0_HD, w1_1H, lr0_N[at], lr1_N[at])
        losses.append(torch.stack(found))
    loss_NS = torch.cat(losses, 1).T
    v_NS = loss_NS.nan_to_num(nan=math.inf) / loss_NS[:, :1]
    return (v_NS.clamp(max=1e6)[:, -TAIL:].mean(1) < 1).numpy().reshape(side, side)


def losses_by_hand(
    x_DR: Tensor, y_R: Tensor, w0_HD: Tensor, w1_1H: Tensor, lr0_K: Tensor, lr1_K: Tensor
) -> list[Tensor]:
    """The gradient written out, every large tensor reused."""
    import torch

    n, rows = x_DR.shape
    k = len(lr0_K)
    c = math.sqrt(2 / n)
    w0_KHD = w0_HD.repeat(k, 1, 1)
    w1_KH1 = w1_1H.T.repeat(k, 1, 1)
    step0 = (-lr0_K * (2 / rows / n * c))[:, None, None]
    step1 = (-lr1_K * (2 / rows / n))[:, None, None]
    x_KDR = x_DR.expand(k, n, rows)
    x_KRD = x_KDR.transpose(1, 2)
    h_KHR = torch.empty(k, n, rows, dtype=x_DR.dtype)
    weighted_KHR = torch.empty_like(h_KHR)
    g_KHD = torch.empty_like(w0_KHD)
    found = []
    for step in range(STEPS + 1):
        torch.bmm(w0_KHD * c, x_KDR, out=h_KHR).tanh_()
        torch.mul(h_KHR, w1_KH1 / n, out=weighted_KHR)
        error_KR = weighted_KHR.sum(1).sub_(y_R)
        found.append(error_KR.square().mean(1))
        if step == STEPS:
            break
        g_KH1 = torch.bmm(h_KHR, error_KR.unsqueeze(2))
        # (1 - h^2) w1 error, without a tensor more.
        h_KHR.square_().neg_().add_(1).mul_(w1_KH1).mul_(error_KR.unsqueeze(1))
        torch.bmm(h_KHR, x_KRD, out=g_KHD)
        w1_KH1.addcmul_(g_KH1, step1)
        w0_KHD.addcmul_(g_KHD, step0)
    return found


def losses_by_autograd(
    x_DR: Tensor, y_R: Tensor, w0_HD: Tensor, w1_1H: Tensor, lr0_K: Tensor, lr1_K: Tensor
) -> list[Tensor]:
    """Stacked weights, one backward pass over the sum of losses."""
    import torch

    n = len(x_DR)
    w0_KHD = w0_HD.repeat(len(lr0_K), 1, 1).requires_grad_()
    w1_K1H = w1_1H.repeat(len(lr0_K), 1, 1).requires_grad_()
    found = []
    for _ in range(STEPS + 1):
        h_KHR = torch.tanh(w0_KHD @ x_DR * math.sqrt(2 / n))
        loss_K = ((w1_K1H @ h_KHR).squeeze(1) / n - y_R).square().mean(1)
        found.append(loss_K.detach())
        g0, g1 = torch.autograd.grad(loss_K.sum(), (w0_KHD, w1_K1H))
        with torch.no_grad():
            w0_KHD -= lr0_K[:, None, None] * g0
            w1_K1H -= lr1_K[:, None, None] * g1
    return found


SCRIPTS = {"by_hand": losses_by_hand, "autograd": losses_by_autograd}
PROCESSES = {"phasecube": 1, "phasecube_2": 2}
CONTENDERS = ("by_hand", "phasecube", "autograd", "phasecube_2")


def timed(name: str, side: int, folder: Path) -> tuple[float, float, np.ndarray]:
    """Return the wall and CPU seconds of a contender in processes of its own, and its labels."""
    folder.mkdir()
    if name in PROCESSES:
        command = phasecube_command(side, folder, PROCESSES[name])
    else:
        command = [sys.executable, __file__, "--side", str(side), "--child", name, str(folder)]
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, labels_of(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, folder = args.child
        np.save(Path(folder) / "labels.npy", by_script(args.side, SCRIPTS[name]))
        return
    steps = args.side**2 * STEPS
    print(f"{args.side} x {args.side} pixels, {STEPS} steps, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'contender':12}{'wall s':>8}{'CPU s':>8}{'CPU us/step':>12}{'converged':>11}{'same':>9}"
    )
    labels: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only:
            wall_s, cpu_s, labels[name] = timed(name, args.side, Path(scratch) / name)
            same = (labels[name] == labels[args.only[0]]).mean()
            print(
                f"{name:12}{wall_s:8.1f}{cpu_s:8.1f}{1e6 * cpu_s / steps:12.2f}"
                f"{labels[name].mean():11.4f}{same:9.5f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
