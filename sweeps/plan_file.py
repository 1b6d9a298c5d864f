"""plan.parquet: a plan as a table any tool can read, one line a place on the axes.

Reading it needs neither the experiment nor the sweep file: what they decided stands in
the file's metadata under the key `phasecube`, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from phasecube.engine.errors import StudyError
from phasecube.engine.experiment import Measure
from phasecube.engine.record import RecordRule, StopRule, Target
from phasecube.sweeps.adaptive_sections import PrunerSection, SamplerSection
from phasecube.sweeps.axis import Axis, Dim, SearchedAxis, SubSpace
from phasecube.sweeps.columns import Column
from phasecube.sweeps.digest import DIGEST_BYTES
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.plan import Plan
from phasecube.sweeps.sections import RecordSection, ResourcesSection
from phasecube.sweeps.slurm_section import ClusterSection
from phasecube.sweeps.sweep import Analysis, Sweep

SCHEMA_VERSION = 2


def write_plan(plan: Plan, path: Path) -> None:
    """Write `plan` beside `path` and rename it into place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.py_buffer(np.ascontiguousarray(plan.digests))
    table: dict[str, Any] = {
        "digest": pa.Array.from_buffers(pa.binary(DIGEST_BYTES), len(plan), [None, raw]),
        "row": plan.row,
        "group": plan.group,
    }
    for name, codes in plan.index.items():
        table[f"index:{name}"] = codes
    for name, column in plan.columns.items():
        values = column.values
        if len({type(v) for v in values}) > 1:
            values = [str(v) for v in values]  # for readers; phasecube takes them from the axis
        table[name] = pa.DictionaryArray.from_arrays(column.codes, pa.array(values))
    metadata = {"phasecube": json.dumps(_about(plan))}
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    pq.write_table(pa.table(table, metadata=metadata), partial, compression="zstd")
    partial.replace(path)


def read_plan(path: Path | str) -> Plan:
    """Return the plan at `path`; raise StudyError where it is missing or not whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, memory_map=True).read()  # read_table brings pandas
        about = json.loads(table.schema.metadata[b"phasecube"])
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise StudyError(f"{path} is no plan ({error}); it is rebuilt by any command") from error
    if about["schema_version"] != SCHEMA_VERSION:
        raise StudyError(f"{path} is a plan of another version; delete it, it is rebuilt")
    sweep = _sweep(about["sweep"])
    index = {d.name: _numpy(table, f"index:{d.name}", np.int32) for d in sweep.dims}
    axes = {axis.name: (dim.name, axis) for dim in sweep.dims for axis in dim.axes}
    columns = {}
    for name, is_param in about["columns"].items():
        if name in axes:
            dim_name, axis = axes[name]
            columns[name] = Column(index[dim_name], axis.values, is_param)
        else:
            found = table[name].combine_chunks()
            if not pa.types.is_dictionary(found.type):
                found = found.dictionary_encode()
            codes = np.asarray(found.indices, np.int32)
            columns[name] = Column(codes, found.dictionary.to_pylist(), is_param)
    digests = np.frombuffer(
        table["digest"].combine_chunks().cast(pa.binary(DIGEST_BYTES)).buffers()[1], np.uint8
    )[: len(table) * DIGEST_BYTES]
    rule = {**about["rule"]}
    for key in ("steps", "vector_steps"):
        rule[key] = np.asarray(rule[key], np.int64)
    rule["scalars"] = tuple(rule["scalars"])
    cadences = rule.get("cadences", {})
    rule["cadences"] = {name: np.asarray(steps, np.int64) for name, steps in cadences.items()}
    rule["vectors"] = {n: tuple(labels) for n, labels in rule["vectors"].items()}
    return Plan(
        sweep,
        about["experiment"],
        about["version"],
        sweep.dims,
        index,
        columns,
        about["constants"],
        frozenset(about["static"]),
        digests.reshape(len(table), DIGEST_BYTES),
        _numpy(table, "group", np.int32),
        _numpy(table, "row", np.int64),
        about["pack_size"],
        about["n_packs"],
        RecordRule(**rule),
        {name: Measure(**fields) for name, fields in about["measures"].items()},
        about.get("counts", {}),
    )


def read_rows(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the store rows that the plan at `path` names, each once; reads one column."""
    import pyarrow.parquet as pq

    return np.unique(np.asarray(pq.read_table(path, columns=["row"])["row"], np.int64))


def _numpy(table: Any, name: str, dtype: Any) -> Any:
    return np.asarray(table[name].combine_chunks(), dtype)


def _about(plan: Plan) -> dict[str, Any]:
    sweep, rule = plan.sweep, plan.rule
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": plan.experiment,
        "version": plan.version,
        "constants": dict(plan.constants),
        "static": sorted(plan.static),
        "columns": {name: column.is_param for name, column in plan.columns.items()},
        "pack_size": plan.pack_size,
        "n_packs": plan.n_packs,
        "measures": {name: asdict(measure) for name, measure in plan.measures.items()},
        "counts": dict(plan.counts),
        "rule": {
            "steps": rule.steps.tolist(),
            "scalars": list(rule.scalars),
            "vector_steps": rule.vector_steps.tolist(),
            "vectors": dict(rule.vectors),
            "dtype": rule.dtype,
            "cadences": {name: steps.tolist() for name, steps in rule.cadences.items()},
        },
        "sweep": {
            "name": sweep.name,
            "title": sweep.title,
            "question": sweep.question,
            "experiment": sweep.experiment,
            "folder": str(sweep.folder),
            "fixed": dict(sweep.fixed),
            "dims": [asdict(dim) for dim in sweep.dims],
            "where": [expression.text for expression in sweep.where],
            "derived": {name: expression.text for name, expression in sweep.derived.items()},
            "record": sweep.record.model_dump(),
            "stop": asdict(sweep.stop),
            "analyses": [{"kind": a.kind, "options": dict(a.options)} for a in sweep.analyses],
            "resources": sweep.resources.model_dump(),
            # Only what the file says: a default must not overrule the user's profile.
            "cluster": sweep.cluster.model_dump(exclude_unset=True),
            "text": sweep.text,
            "sampler": None if sweep.sampler is None else sweep.sampler.model_dump(),
            "pruner": None if sweep.pruner is None else sweep.pruner.model_dump(),
            "searched": [asdict(axis) for axis in sweep.searched],
            "points": list(sweep.points),
        },
    }


def _sweep(about: dict[str, Any]) -> Sweep:
    stop = about["stop"]
    target = Target(**stop["target"]) if stop["target"] else None
    dims = []
    for dim in about["dims"]:
        axes = tuple(Axis(**{**axis, "values": tuple(axis["values"])}) for axis in dim["axes"])
        subspaces = (SubSpace(**{**s, "swept": tuple(s["swept"])}) for s in dim["subspaces"])
        dims.append(Dim(dim["name"], axes, tuple(subspaces), dim["rest"]))
    return Sweep(
        **{
            **about,
            "folder": Path(about["folder"]),
            "dims": tuple(dims),
            "where": tuple(Expression(text) for text in about["where"]),
            "derived": {name: Expression(text) for name, text in about["derived"].items()},
            "record": RecordSection.model_validate(about["record"]),
            "stop": StopRule(target, stop["loss_above"]),
            "analyses": tuple(Analysis(a["kind"], a["options"]) for a in about["analyses"]),
            "resources": ResourcesSection.model_validate(about["resources"]),
            "cluster": ClusterSection.model_validate(about.get("cluster", {})),
            "sampler": about["sampler"] and SamplerSection.model_validate(about["sampler"]),
            "pruner": about["pruner"] and PrunerSection.model_validate(about["pruner"]),
            "searched": tuple(
                SearchedAxis(**{**axis, "choices": tuple(axis["choices"])})
                for axis in about["searched"]
            ),
            "points": tuple(about["points"]),
        }
    )
