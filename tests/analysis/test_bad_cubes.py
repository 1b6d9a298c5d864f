"""Studies and cubes that are not whole: the right numbers, a caution, or an error that helps."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from test_cube import SWEEP, fill, planned

import phasecube
from phasecube.analysis.caution import cautions_of
from phasecube.analysis.cube import opened as cube_module
from phasecube.analysis.cube.consolidate import consolidate
from phasecube.analysis.cube.opened import is_current, open_study
from phasecube.analysis.report.study_cautions import study_cautions
from phasecube.engine.errors import StoreError, StudyError
from phasecube.engine.record import Outcome
from phasecube.engine.store import Store
from phasecube.sweeps import plan as plan_module

N_TRIALS = 48


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fill(planned(SWEEP, folder), folder)
    consolidate(folder)
    return folder


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def names(ds: xr.Dataset) -> list[str]:
    return [caution.name for caution in cautions_of(ds.attrs)]


def rows_of(study: Path) -> xr.Dataset:
    return xr.open_dataset(study, engine=cube_module.RowsBackend)


def lose_a_chunk(cube: Path, array: str = "train_loss") -> None:
    sorted((cube / array).glob("c.*"))[-1].unlink()


def cut_a_chunk(cube: Path) -> None:
    chunk = sorted((cube / "train_loss").glob("c.*"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-7])


def lose_an_array(cube: Path) -> None:
    shutil.rmtree(cube / "val_accuracy")


def lose_a_coordinate(cube: Path) -> None:
    shutil.rmtree(cube / "lr")


@pytest.mark.parametrize("harm", [lose_a_chunk, cut_a_chunk, lose_an_array, lose_a_coordinate])
def test_a_cube_that_lacks_files_is_passed_by_with_a_caution(
    study: Path, harm: Callable[[Path], None]
) -> None:
    harm(study / "cube.zarr")
    ds = open_study(study)
    assert names(ds) == ["damaged_cube"]
    xr.testing.assert_equal(ds.load(), rows_of(study).load())
    assert not np.isnan(ds.train_loss.values).any()


@pytest.mark.parametrize("harm", [lose_a_chunk, cut_a_chunk, lose_an_array, lose_a_coordinate])
def test_alone_such_a_cube_is_refused_and_what_it_lacks_is_named(
    study: Path, harm: Callable[[Path], None]
) -> None:
    harm(study / "cube.zarr")
    with pytest.raises(StudyError, match=r"is not whole: \w+ has [\d,]+ of its [\d,]+ (files|byt)"):
        open_study(study / "cube.zarr")


def test_a_report_says_what_was_found_at_opening(study: Path) -> None:
    lose_a_chunk(study / "cube.zarr")
    found = {c.name: c.message for c in study_cautions(open_study(study))}
    assert found["damaged_cube"].endswith("`phasecube report` on the study writes it anew")


def test_a_damaged_cube_is_written_anew(study: Path) -> None:
    lose_a_chunk(study / "cube.zarr")
    consolidate(study)
    assert is_current(study) and names(open_study(study)) == []


def chunks_of(study: Path, array: str) -> list[Path]:
    files = sorted((study / "cube.zarr" / array).rglob("*"))
    return [p for p in files if p.is_file() and p.name != "zarr.json"]


@pytest.mark.parametrize("array", ["train_loss", "weight_norm_per_layer", "n_recorded"])
def test_a_bit_that_flipped_on_disk_is_never_read_as_a_number(study: Path, array: str) -> None:
    chunk = chunks_of(study, array)[0]
    whole = chunk.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 12).astype(int):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        chunk.write_bytes(bytes(flipped))
        with pytest.raises(StudyError, match="its checksum is another"):
            open_study(study)[array].load()
    chunk.write_bytes(whole)
    assert not np.isnan(open_study(study)[array].values).any()


def test_a_bit_that_flipped_in_a_coordinate_is_found_at_opening(study: Path) -> None:
    chunk = chunks_of(study, "lr")[0]
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\xff")
    ds = open_study(study)
    assert names(ds) == ["damaged_cube"]
    xr.testing.assert_equal(ds.load(), rows_of(study).load())
    with pytest.raises(StudyError, match="its checksum is another"):
        open_study(study / "cube.zarr")


def edit(cube: Path, **attributes: object) -> None:
    root = json.loads((cube / "zarr.json").read_bytes())
    root["attributes"] |= attributes
    root["attributes"] = {n: v for n, v in root["attributes"].items() if v is not None}
    (cube / "zarr.json").write_text(json.dumps(root))


def test_a_cube_of_an_older_schema_opens_alone_with_a_caution(study: Path) -> None:
    edit(study / "cube.zarr", schema_version=1, files=None)
    alone = open_study(study / "cube.zarr")
    assert names(alone) == ["older_cube"]
    assert np.array_equal(alone.train_loss, rows_of(study).train_loss)


def test_a_cube_of_a_newer_schema_is_refused_alone(study: Path) -> None:
    edit(study / "cube.zarr", schema_version=99)
    with pytest.raises(StudyError, match="schema version 99, this phasecube reads up to 2"):
        open_study(study / "cube.zarr")


@pytest.mark.parametrize("version", [1, 99, "two", None])
def test_in_a_study_a_cube_of_another_schema_is_passed_by(study: Path, version: object) -> None:
    edit(study / "cube.zarr", schema_version=version)
    assert not is_current(study)
    xr.testing.assert_identical(open_study(study).load(), rows_of(study).load())


def tear(study: Path) -> None:
    path = study / "cube.zarr" / "zarr.json"
    path.write_bytes(path.read_bytes()[:100])


def other_zarr(study: Path) -> None:
    shutil.rmtree(study / "cube.zarr")
    xr.Dataset({"a": ("x", [1, 2])}).to_zarr(study / "cube.zarr", consolidated=False)


def no_json(study: Path) -> None:
    (study / "cube.zarr" / "zarr.json").write_text("[1, 2]")


def no_root(study: Path) -> None:
    (study / "cube.zarr" / "zarr.json").unlink()


def no_arrays(study: Path) -> None:
    path = study / "cube.zarr" / "zarr.json"
    root = json.loads(path.read_bytes())
    del root["consolidated_metadata"]
    path.write_text(json.dumps(root))


BAD_ROOTS = [
    (tear, "zarr.json is torn"),
    (other_zarr, "no cube of phasecube"),
    (no_json, "no cube of phasecube"),
    (no_root, "it has no zarr.json"),
    (no_arrays, "lists no arrays"),
]


@pytest.mark.parametrize(("harm", "message"), BAD_ROOTS)
def test_what_is_no_whole_cube_is_refused_alone(
    study: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(study)
    with pytest.raises(StudyError, match=message):
        open_study(study / "cube.zarr")


@pytest.mark.parametrize(("harm", "message"), BAD_ROOTS)
def test_in_a_study_what_is_no_whole_cube_is_passed_by(
    study: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(study)
    assert int((open_study(study).outcome == Outcome.DONE).sum()) == N_TRIALS


def test_the_rows_opened_as_a_cube_are_told_from_one(study: Path) -> None:
    with pytest.raises(StudyError, match="holds the rows of a study; open the study"):
        open_study(study / "store.zarr")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["plan.parquet"], r"has no plan.parquet.*phasecube show"),
        (["store.zarr"], r"has no store.zarr.*or open .*cube.zarr alone"),
        (["store.zarr", "cube.zarr"], r"has no store.zarr.*`phasecube run SWEEP`$"),
        (["store.zarr", "plan.parquet"], "is no study"),
    ],
)
def test_a_study_that_lost_a_part_says_which(study: Path, lost: list[str], message: str) -> None:
    for name in lost:
        path = study / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StudyError, match=message):
        open_study(study)


@pytest.mark.parametrize("place", ["nothing", "empty", "file", "nothing.zarr", "empty.zarr"])
def test_what_is_no_study_at_all_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"no study|no cube"):
        phasecube.open(tmp_path / place)


def test_a_torn_plan_is_named(study: Path) -> None:
    path = study / "plan.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StudyError, match=r"plan.parquet is no plan"):
        open_study(study)


def test_a_torn_store_is_named(study: Path) -> None:
    (study / "store.zarr" / "zarr.json").write_text('{"attr')
    with pytest.raises(StoreError, match=r"store.zarr/zarr.json is torn"):
        open_study(study)


def test_a_store_without_status_is_named(study: Path) -> None:
    shutil.rmtree(study / "store.zarr" / "status")
    with pytest.raises(StoreError, match="status is missing"):
        open_study(study)


@pytest.mark.parametrize("array", ["scalars", "vector_weight_norm_per_layer"])
def test_trials_whose_records_are_lost_have_not_run_and_a_caution_says_so(
    study: Path, array: str
) -> None:
    shutil.rmtree(study / "cube.zarr")
    (study / "store.zarr" / array / "c.2.0.0").unlink()
    ds = open_study(study)
    assert names(ds) == ["lost_records"] and "1 packs of" in ds.attrs["cautions"][0]
    lost = ds.outcome == Outcome.NOT_RUN
    n_lost = int(lost.sum())
    assert 0 < n_lost <= 8 and ds.attrs["complete"] == 0
    assert int(ds.n_recorded.where(lost).max()) == 0
    assert list(Store(study / "store.zarr").torn_packs()) == [2]  # what `retry --torn` takes


def test_a_whole_cube_keeps_the_numbers_of_records_lost_since(study: Path) -> None:
    (study / "store.zarr" / "scalars" / "c.2.0.0").unlink()
    ds = open_study(study)
    assert names(ds) == [] and not np.isnan(ds.train_loss.values).any()


def test_a_cube_of_lost_records_is_stale_once_they_are_back(study: Path) -> None:
    shutil.rmtree(study / "cube.zarr")
    chunk = study / "store.zarr" / "scalars" / "c.2.0.0"
    chunk.rename(study / "aside")
    consolidate(study)
    assert is_current(study) and names(open_study(study)) == ["lost_records"]
    (study / "aside").rename(chunk)
    assert not is_current(study)
    assert names(open_study(study)) == [] and open_study(study).attrs["complete"] == 1


# A study that is consolidated while it is read ----------------------------------------


def replace_cube(study: Path) -> None:
    Store(study / "store.zarr").reset_rows([0])
    consolidate(study)


def test_values_of_a_cube_that_was_replaced_are_refused(study: Path) -> None:
    ds = open_study(study)
    replace_cube(study)
    with pytest.raises(StudyError, match=r"written anew since it was opened.*open the study again"):
        ds.train_loss.load()
    assert bool((open_study(study).outcome == Outcome.NOT_RUN).any())


def test_values_of_a_cube_that_is_gone_are_refused(study: Path) -> None:
    ds = open_study(study, chunks="auto")
    (study / "cube.zarr").rename(study / "aside")
    with pytest.raises(StudyError, match="open the study again"):
        ds.train_loss.mean().compute()


def test_a_worker_elsewhere_keeps_the_edition_too(study: Path) -> None:
    ds = pickle.loads(pickle.dumps(open_study(study)))
    assert not np.isnan(ds.train_loss.isel(step=0).values).any()
    ds = pickle.loads(pickle.dumps(open_study(study)))
    replace_cube(study)
    with pytest.raises(StudyError, match="open the study again"):
        ds.train_loss.load()


def test_a_cube_replaced_while_it_is_opened_is_opened_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    state_of = cube_module.state_of

    def replaced_meanwhile(path: Path) -> object:
        state = state_of(path)
        if not seen:
            replace_cube(path)
        seen.append(state)
        return state

    monkeypatch.setattr(cube_module, "state_of", replaced_meanwhile)
    ds = open_study(study)
    assert len(seen) == 2 and names(ds) == []
    xr.testing.assert_identical(ds.load(), rows_of(study).load())


def test_a_cube_of_a_plan_replaced_while_it_was_read_is_not_current(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_plan = plan_module.read_plan

    def replaced_after(path: Path) -> object:
        plan = read_plan(path)
        path.write_bytes(path.read_bytes() + b"of another plan")
        return plan

    shutil.rmtree(study / "cube.zarr")
    monkeypatch.setattr(plan_module, "read_plan", replaced_after)
    consolidate(study)
    assert not is_current(study)


def test_a_cube_that_never_stands_still_gives_way_to_the_rows(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = iter(range(99))
    monkeypatch.setattr(cube_module, "edition_of", lambda _: (next(n), 0, 0))
    ds = open_study(study)
    assert names(ds) == [] and int((ds.outcome == Outcome.DONE).sum()) == N_TRIALS


def rewrite_again_and_again(study: Path, done: EventType) -> None:
    store = Store(study / "store.zarr")
    for row in range(12):
        store.reset_rows([row])
        consolidate(study)
    done.set()


@pytest.mark.slow
def test_a_reader_beside_a_writer_of_cubes_reads_right_numbers_or_is_told(study: Path) -> None:
    expected = open_study(study).train_loss.load()
    context = get_context("spawn")
    done = context.Event()
    writer = context.Process(target=rewrite_again_and_again, args=(study, done))
    writer.start()
    n_right, n_told = 0, 0
    while not done.is_set() or not n_right:
        ds = open_study(study)
        try:
            ran, loss = ds.outcome.load() == Outcome.DONE, ds.train_loss.load()
        except StudyError as error:
            assert "written anew since it was opened" in str(error)
            n_told += 1
            continue
        # Of rows that are reset after opening, nothing or what they were.
        right = (loss == expected) | (loss.isnull() & _from_rows(ds))
        assert bool(right.where(ran, other=True).all())
        n_right += 1
    writer.join()
    assert writer.exitcode == 0 and n_right


def _from_rows(ds: xr.Dataset) -> bool:
    return "chunks" not in ds.train_loss.encoding
