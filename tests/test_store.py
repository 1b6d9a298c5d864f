"""The store: rows written by packs, read back, grown, torn, and written by several at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube.engine.errors import StoreError
from phasecube.engine.experiment import Measure
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, Status
from phasecube.engine.store import Store, StoreLayout, create_store, extend_store

PACK = 4
SETTLED = [o for o in Outcome if o not in (Outcome.NOT_RUN, Outcome.NOT_PLANNED)]
MEASURES = {
    "train_loss": Measure("training loss"),
    "val_accuracy": Measure("validation accuracy"),
    "spectrum": Measure("power of the weights", "1", "frequency"),
}
RULE = RecordRule(
    np.array([0, 1, 2, 5, 10]),
    ("train_loss", "val_accuracy"),
    np.array([0, 5, 10]),
    {"spectrum": ("k0", "k1")},
)


def digests(n_rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n_rows, 16)).astype(np.uint8)


def new_store(path: Path, n_packs: int = 3) -> Store:
    create_store(path, StoreLayout(PACK, n_packs, RULE, MEASURES, "demo"), digests(PACK * n_packs))
    return Store(path)


def record_of(
    outcomes: list[Outcome] | None = None, n_recorded: list[int] | None = None, value: float = 1.0
) -> PackRecord:
    """A pack whose rows hold `value + row + step` up to n_recorded."""
    outcomes = outcomes or [Outcome.DONE] * PACK
    n_recorded = n_recorded or [len(RULE.steps)] * PACK
    record = PackRecord.empty(PACK, RULE)
    for row, (outcome, n) in enumerate(zip(outcomes, n_recorded)):
        last_step = RULE.steps[n - 1] if n else -1
        record.scalars_RMS[row, :, :n] = value + row + RULE.steps[:n]
        n_vectors = int((RULE.vector_steps <= last_step).sum())
        record.vectors["spectrum"][row, :n_vectors] = value + row
        stopped_at = -1 if outcome is Outcome.NOT_RUN else int(last_step)
        record.status_RF[row] = (outcome, n, stopped_at, Engine.SEQUENTIAL, 1)
    return record


def assert_equal(found: PackRecord, expected: PackRecord) -> None:
    np.testing.assert_array_equal(found.status_RF, expected.status_RF)
    np.testing.assert_array_equal(found.scalars_RMS, expected.scalars_RMS)
    assert found.scalars_RMS.dtype == expected.scalars_RMS.dtype
    for name, values in expected.vectors.items():
        np.testing.assert_array_equal(found.vectors[name], values)


def test_what_a_pack_wrote_is_read_back(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(1, record_of(value=3.0))
    assert_equal(Store(store.path).read_pack(1), record_of(value=3.0))


def test_rows_nobody_wrote_have_not_run(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(1, record_of())
    status_RF = store.read_status()
    assert (status_RF[:PACK, Status.OUTCOME] == Outcome.NOT_RUN).all()
    assert (status_RF[:PACK, Status.STOPPED_AT] == -1).all()
    assert (status_RF[PACK : 2 * PACK, Status.OUTCOME] == Outcome.DONE).all()
    assert_equal(store.read_pack(0), PackRecord.empty(PACK, RULE))


def test_one_measure_of_all_rows_is_read_in_row_order(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(2, record_of(value=7.0))
    values_RS = store.read_scalar("val_accuracy")
    assert np.isnan(values_RS[: 2 * PACK]).all()
    np.testing.assert_array_equal(values_RS[2 * PACK :], record_of(value=7.0).scalars_RMS[:, 1])
    np.testing.assert_array_equal(
        store.read_vector("spectrum")[2 * PACK :], record_of(value=7.0).vectors["spectrum"]
    )


def test_the_layout_is_read_back(tmp_path: Path) -> None:
    layout = new_store(tmp_path / "store.zarr").layout
    assert (layout.pack_size, layout.n_packs, layout.sweep) == (PACK, 3, "demo")
    assert layout.measures == MEASURES
    assert layout.rule.scalars == RULE.scalars and dict(layout.rule.vectors) == dict(RULE.vectors)
    np.testing.assert_array_equal(layout.rule.steps, RULE.steps)
    np.testing.assert_array_equal(layout.rule.vector_steps, RULE.vector_steps)


def test_a_pack_that_diverged_at_once_differs_from_one_that_never_ran(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(0, record_of([Outcome.DIVERGED] * PACK, [0] * PACK))
    store.write_pack(1, record_of([Outcome.DIVERGED] * PACK, [0] * PACK))
    outcomes = Store(store.path).read_status()[:, Status.OUTCOME].reshape(3, PACK)
    assert (outcomes[:2] == Outcome.DIVERGED).all() and (outcomes[2] == Outcome.NOT_RUN).all()
    assert (store.path / "scalars" / "c.0.0.0").exists()
    assert not (store.path / "scalars" / "c.2.0.0").exists()


def test_values_past_what_status_vouches_for_are_not_read(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(0, record_of([Outcome.NOT_RUN] * PACK, [2] * PACK))
    # A writer that died between its data and its status.
    group = zarr.open_group(store.path, mode="r+")
    group["scalars"][0:PACK] = record_of().scalars_RMS
    group["vector_spectrum"][0:PACK] = record_of().vectors["spectrum"]
    expected = record_of([Outcome.NOT_RUN] * PACK, [2] * PACK)
    assert_equal(store.read_pack(0), expected)
    np.testing.assert_array_equal(
        store.read_scalar("train_loss")[:PACK], expected.scalars_RMS[:, 0]
    )
    np.testing.assert_array_equal(
        store.read_vector("spectrum")[:PACK], expected.vectors["spectrum"]
    )


outcomes_lists = st.lists(
    st.sampled_from([Outcome.NOT_RUN, *SETTLED]), min_size=PACK, max_size=PACK
)
counts = st.lists(st.integers(0, len(RULE.steps)), min_size=PACK, max_size=PACK)


@settings(max_examples=25)
@given(writes=st.lists(st.tuples(outcomes_lists, counts), min_size=1, max_size=4))
def test_no_order_of_writers_unsettles_a_row_or_loses_a_record(
    writes: list[tuple[list[Outcome], list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = new_store(tmp_path_factory.mktemp("s") / "store.zarr", n_packs=1)
    best = PackRecord.empty(PACK, RULE).status_RF
    for outcomes, n_recorded in writes:
        record = record_of(outcomes, n_recorded)
        store.write_pack(0, record)
        for row in range(PACK):
            stands = best[row, Status.OUTCOME] != Outcome.NOT_RUN
            behind = (
                record.status_RF[row, Status.OUTCOME] == Outcome.NOT_RUN
                and best[row, Status.N_RECORDED] > record.status_RF[row, Status.N_RECORDED]
            )
            if not stands and not behind:
                best[row] = record.status_RF[row]
        found = store.read_pack(0)
        np.testing.assert_array_equal(found.status_RF, best)
        expected = record_of([Outcome(o) for o in best[:, 0]], [int(n) for n in best[:, 1]])
        np.testing.assert_array_equal(found.scalars_RMS, expected.scalars_RMS)


def test_a_row_that_is_reset_can_be_settled_again_and_keeps_its_engine(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(0, record_of([Outcome.FAILED] + [Outcome.DONE] * 3, [1, 5, 5, 5]))
    store.reset_rows([0])
    status_RF = store.read_status()
    assert status_RF[0].tolist() == [Outcome.NOT_RUN, 0, -1, Engine.SEQUENTIAL, 0]
    assert np.isnan(store.read_scalar("train_loss")[0]).all()
    store.write_pack(0, record_of())
    assert_equal(store.read_pack(0), record_of())


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "bit"])
def test_a_torn_chunk_is_told_and_not_read_as_numbers(tmp_path: Path, damage: str) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(1, record_of())
    chunk = store.path / "scalars" / "c.1.0.0"
    content = bytearray(chunk.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "zeroed":
        content[:] = bytes(len(content))
    else:
        content[5] ^= 0x10
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=r"pack 1 of .*scalars is torn.*retry STUDY --torn"):
        store.read_pack(1)
    assert list(store.torn_packs()) == [1]
    # And it is no obstacle to writing the pack again.
    store.reset_rows(range(PACK, 2 * PACK))
    store.write_pack(1, record_of())
    assert store.torn_packs() == {}


def test_a_missing_chunk_of_a_settled_pack_is_told(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(1, record_of())
    (store.path / "scalars" / "c.1.0.0").unlink()
    assert list(store.torn_packs()) == [1]


def test_rows_of_a_torn_status_chunk_have_not_run(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(1, record_of())
    status = store.path / "status" / "c.1.0"
    status.write_bytes(status.read_bytes()[:17])
    assert (store.read_status()[:, Status.OUTCOME] == Outcome.NOT_RUN).all()
    assert list(store.torn_packs()) == [1]
    store.write_pack(1, record_of())
    assert store.torn_packs() == {}


@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_growing_keeps_old_rows_and_appends_rows_that_have_not_run(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "store.zarr"
    n_packs = 1
    all_digests = digests(PACK * 20)
    create_store(path, StoreLayout(PACK, 1, RULE, MEASURES), all_digests[:PACK])
    Store(path).write_pack(0, record_of(value=9.0))
    for size in sizes:
        n_packs += size
        extend_store(path, n_packs, all_digests[: n_packs * PACK])
        store = Store(path)
        assert store.n_packs == n_packs
        assert_equal(store.read_pack(0), record_of(value=9.0))
        np.testing.assert_array_equal(store.read_digests(), all_digests[: n_packs * PACK])
        assert (store.read_status()[PACK:, Status.OUTCOME] == Outcome.NOT_RUN).all()
    store.write_pack(n_packs - 1, record_of(value=2.0))
    assert_equal(Store(path).read_pack(n_packs - 1), record_of(value=2.0))


def test_a_dead_extender_leaves_the_old_shape_and_growing_again_works(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr", n_packs=1)
    plain = zarr.open_group(store.path, mode="r+", use_consolidated=False)
    plain["scalars"].resize((5 * PACK, 2, 5))
    assert Store(store.path).n_packs == 1
    extend_store(store.path, 2, _padded(store, 2))
    assert Store(store.path).read_scalar("train_loss").shape == (2 * PACK, 5)


def _padded(store: Store, n_packs: int) -> np.ndarray:
    found = np.zeros((n_packs * PACK, 16), np.uint8)
    found[: store.n_rows] = store.read_digests()
    return found


def test_growing_refuses_to_rename_a_trial(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr", n_packs=1)
    other = _padded(store, 2)
    other[0, 0] ^= 1
    with pytest.raises(StoreError, match="names other trials"):
        extend_store(store.path, 2, other)


def test_a_store_is_not_made_over_another(tmp_path: Path) -> None:
    new_store(tmp_path / "store.zarr")
    with pytest.raises(StoreError, match="exists"):
        new_store(tmp_path / "store.zarr")


def test_a_store_of_another_schema_is_refused_with_the_version(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    root = json.loads((store.path / "zarr.json").read_text())
    root["attributes"]["schema_version"] = 99
    (store.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(StoreError, match="schema version 99"):
        Store(store.path)


def test_a_reader_without_phasecube_opens_it_with_xarray(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(0, record_of())
    ds = xr.open_zarr(store.path, consolidated=True, chunks=None)
    loss = ds.scalars.sel(measure="train_loss").values
    np.testing.assert_array_equal(loss[:PACK], record_of().scalars_RMS[:, 0])
    assert ds.status.sel(field="outcome").values[:PACK].tolist() == [Outcome.DONE] * PACK
    assert ds.vector_spectrum.sizes["frequency"] == 2


@settings(max_examples=20)
@given(
    n_rows=st.integers(1, 5),
    n_measures=st.integers(0, 4),
    n_steps=st.integers(1, 6),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_zarr_reads_every_bit_that_is_written(
    n_rows: int,
    n_measures: int,
    n_steps: int,
    dtype: str,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    names = tuple(f"m{i}" for i in range(n_measures))
    rule = RecordRule(np.arange(n_steps), names, dtype=dtype)
    path = tmp_path_factory.mktemp("s") / "store.zarr"
    layout = StoreLayout(n_rows, 2, rule, {name: Measure(name) for name in names})
    create_store(path, layout, digests(2 * n_rows))
    record = PackRecord.empty(n_rows, rule)
    bits = np.random.default_rng(seed).integers(0, 256, record.scalars_RMS.nbytes, np.uint8)
    record.scalars_RMS[:] = bits.view(dtype).reshape(record.scalars_RMS.shape)
    record.status_RF[:] = (Outcome.DONE, n_steps, n_steps, Engine.SEQUENTIAL, 1)
    Store(path).write_pack(1, record)
    found = zarr.open_group(path, mode="r")["scalars"][n_rows:]
    assert found.tobytes() == record.scalars_RMS.tobytes()


def test_status_is_read_without_importing_zarr(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    store.write_pack(0, record_of())
    code = (
        "import sys; from phasecube.engine.store import Store; "
        f"print(Store({str(store.path)!r}).read_status()[:, 0].sum()); "
        "assert not {'zarr', 'torch', 'xarray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == PACK * Outcome.DONE


WRITER = """
import sys; sys.path.insert(0, {tests!r})
from test_store import Store, record_of
store = Store({path!r})
print("ready", flush=True)
value = 0
while True:
    for number in range(store.n_packs):
        store.reset_rows(list(range(number * 4, number * 4 + 4)))
        store.write_pack(number, record_of(value=float(value)))
    value += 1
"""


def test_a_writer_killed_at_any_moment_leaves_whole_rows(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.zarr")
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(store.path))
    delays = np.random.default_rng(1).uniform(0, 0.05, 3)
    for delay in delays:
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert Store(store.path).torn_packs() == {}
        for number in range(store.n_packs):
            record = Store(store.path).read_pack(number)
            for row in range(PACK):
                n = record.status_RF[row, Status.N_RECORDED]
                values = record.scalars_RMS[row, 0, :n] - RULE.steps[:n]
                assert len(set(values.tolist())) <= 1  # all of one write
