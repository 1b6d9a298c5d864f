"""What `import phasecube` offers: a dozen names, each imported when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import phasecube


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in phasecube.__all__:
        assert getattr(phasecube, name).__doc__, name
    assert dir(phasecube) == sorted(phasecube.__all__)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="read_sweep"):
        phasecube.read_spec  # noqa: B018


def test_importing_phasecube_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import phasecube\n"
        "found = {m for m in set(sys.modules) - before if m.startswith('phasecube.')}\n"
        "assert not found and 'numpy' not in sys.modules, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
