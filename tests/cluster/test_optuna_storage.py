"""The storage of Optuna: what its URL may say, where it may lie, and what is said when it fails."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from phasecube.cluster import storage as storage_module
from phasecube.cluster.storage import JOURNAL, open_storage
from phasecube.cluster.storage_journal import open_journal
from phasecube.cluster.storage_place import mounts, network_type
from phasecube.engine.errors import SpecError, StudyError
from phasecube.sweeps.storage_url import url_faults
from phasecube.sweeps.sweep import parse_sweep

SECRET = "tr0ub4dor&3"
MOUNTED = [
    ("/", "ext4"),
    ("/home", "nfs4"),
    ("/home/me/local", "xfs"),
    ("/scratch", "lustre"),
    ("/mnt/box", "fuse.sshfs"),
    ("/mnt/disk", "fuse.ntfs-3g"),
    ("/share", "cifs"),
]


@pytest.mark.parametrize(
    "url",
    [
        "journal:///data/optuna.journal",
        "sqlite:///optuna.db",
        "sqlite:////data/optuna.db",
        "postgresql://me:${PGPASSWORD}@db.site/optuna",
        "postgresql+psycopg://db.site/optuna",
        "mysql://me@db.site:3306/optuna",
        "grpc://db.site:13000",
        "${OPTUNA_STORAGE}",
    ],
)
def test_a_url_without_a_secret_is_taken(url: str) -> None:
    assert list(url_faults(url)) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"postgresql://me:{SECRET}@db/optuna", "holds a password, .* set NAME"),
        (f"postgresql://me:${{A}}{SECRET}@db/optuna", "holds a password"),
        (f"mysql://db/optuna?user=me&password={SECRET}", "holds a password"),
        ("redis://db", "takes journal:///PATH"),
        ("optuna.db", "takes journal:///PATH"),
        ("postgresql:///optuna", "names no host"),
        ("grpc://db.site", "names no port"),
        ("grpc://db.site:port", "no URL that can be read"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("journal://data/optuna.journal", "three slashes"),
    ],
)
def test_a_wrong_url_is_a_fault_of_the_sweep_and_never_repeats_a_password(
    url: str, message: str
) -> None:
    text = (
        'name = "s"\nexperiment = "scalar_quartic"\naxes.lr = { between = [0.1, 0.2] }\n'
        f'[sampler]\nkind = "random"\npoints = 3\nstorage = "{url}"\n'
    )
    with pytest.raises(SpecError, match=f"sampler.storage: .*{message}") as found:
        parse_sweep(text, Path())
    assert SECRET not in str(found.value)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/s", None),
        ("/home/me/s", "nfs4"),
        ("/home/me/local/s", None),
        ("/homely/s", None),
        ("/scratch/s", "lustre"),
        ("/mnt/box/s", "fuse.sshfs"),
        ("/mnt/disk/s", None),
        ("/share/s", "cifs"),
    ],
)
def test_a_network_file_system_is_known_by_its_type(path: str, kind: str | None) -> None:
    assert network_type(Path(path), MOUNTED) == kind


def test_the_file_systems_of_this_machine_are_read() -> None:
    assert "/" in [folder for folder, _ in mounts()]


@pytest.mark.parametrize("scheme", ["journal", "sqlite"])
def test_a_file_on_a_network_file_system_is_refused_with_a_remedy(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "network_type", lambda path: "nfs4")
    with pytest.raises(StudyError, match=r"network file system \(nfs4\).*take a local path, or"):
        open_storage(f"{scheme}:///{tmp_path}/optuna.db", tmp_path)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="reads PHASECUBE_NO_SUCH, not set in the environment"):
        open_storage("postgresql://me:${PHASECUBE_NO_SUCH}@db/optuna", tmp_path)


def test_a_url_filled_in_is_checked_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", f"redis://me:{SECRET}@db")
    with pytest.raises(StudyError, match="takes journal:///PATH") as found:
        open_storage("${WHERE}", tmp_path)
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("scheme", ["postgresql", "grpc"])
def test_a_server_that_does_not_answer_is_named_without_the_password(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"postgresql": "psycopg", "grpc": "grpc"}[scheme])
    monkeypatch.setenv("PASSWORD", SECRET)
    monkeypatch.setattr(storage_module, "ANSWER_S", 1)
    with socket.socket() as unused:  # bound and not listening: a connection is refused
        unused.bind(("127.0.0.1", 0))
        url = f"{scheme}://me:${{PASSWORD}}@127.0.0.1:{unused.getsockname()[1]}/optuna"
        with pytest.raises(StudyError, match=r"\$\{PASSWORD\}@127.* cannot be opened: ") as found:
            open_storage(url, tmp_path)
    assert SECRET not in str(found.value)


def test_a_driver_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"not installed .*pip install 'psycopg\[binary\]'"):
        open_storage("postgresql+psycopg://me@127.0.0.1:1/optuna", tmp_path)


def test_a_journal_whose_last_line_was_cut_off_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    open_journal(path).create_new_study([], "first")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 0, "study_na')
    storage = open_journal(path)
    storage.create_new_study([], "second")
    assert path.read_bytes().startswith(whole)
    names = [study.study_name for study in open_journal(path).get_all_studies()]
    assert names == ["first", "second"]


def test_the_studys_own_journal_is_written_anew_where_it_is_damaged(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"damaged\nmore\n")
    assert open_storage(None, tmp_path).get_all_studies() == []


def test_another_journal_that_is_damaged_is_left_and_named(tmp_path: Path) -> None:
    path = tmp_path / "other.journal"
    path.write_bytes(b"damaged\nmore\n")
    with pytest.raises(StudyError, match=r"other.journal is no whole journal of Optuna"):
        open_storage(f"journal:///{path}", tmp_path)
    assert path.read_bytes() == b"damaged\nmore\n"
