"""The analysis `entropy_phase`: a map of what became of entropy and reward in each cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.analyses import Request
from phasecube.analysis.drawn import Section
from phasecube.analysis.entropy.collapse import SETTLED_LABELS, EntropyRule, Label, labels, unstable
from phasecube.analysis.grokking import Phase, majority
from phasecube.analysis.labels import format_value
from phasecube.analysis.maps.cell_look import PHASE_LOOKS, Look, each_cell
from phasecube.analysis.maps.figures import category_figure
from phasecube.analysis.maps.map_making import log_step, map_of, members_of
from phasecube.analysis.maps.phase_diagram import Panel, value_map

# Okabe & Ito 2008 hues but for A: their green is near their blue without blue cones. Lightness L*
# falls 89, 70, 58, 47, 22 from H to S.
LABEL_LOOKS: Mapping[Label, Look] = {
    Label.HEALTHY: Look("#F0E442", "#000000", letter="H"),
    Label.COLLAPSED_LEARNT: Look("#56B4E9", "#000000", letter="C+"),
    Label.ACTIVE: Look("#B07AA1", "#000000", letter="A"),
    Label.COLLAPSED: Look("#C14B00", "#FFFFFF", letter="C−"),
    Label.STALLED: Look("#3B2A6B", "#FFFFFF", letter="S"),
    Label.UNSTABLE: Look("#FFFFFF", "#000000", "\\\\\\\\", "U"),
    Label.DETERMINISTIC: Look("#D9D9D9", "#000000", "..", "0"),
    Label.DIVERGED: PHASE_LOOKS[Phase.DIVERGED],
    Label.LOST: PHASE_LOOKS[Phase.LOST],
    Label.NOT_RUN: PHASE_LOOKS[Phase.NOT_RUN],
    Label.NOT_PLANNED: PHASE_LOOKS[Phase.NOT_PLANNED],
}
LABEL_NAMES: Mapping[Label, str] = {
    **{label: label.name.lower().replace("_", " ") for label in Label},
    Label.COLLAPSED_LEARNT: "collapsed with reward",
    Label.COLLAPSED: "collapsed without reward",
    Label.DETERMINISTIC: "deterministic from the start",
    Label.LOST: "failed",
}
ALWAYS_NAMED = tuple(LABEL_LOOKS)[:5]


def label_map(
    panel: Panel, rule: EntropyRule | None = None, *, confidence: float = 0.95
) -> xr.Dataset:
    """Return the commonest label of each cell with its share, Wilson interval and the counts.

    Variables: label (a name), share with share_low and share_high, n_unstable (trials whose
    reward fell or whose ratios went far off, whatever their label), n_ of each label, the
    counts of any map.
    """
    rule = rule or EntropyRule()
    of_trials = labels(panel.ds, rule)
    found = majority(of_trials, ["member"], of=SETTLED_LABELS, confidence=confidence)
    counts = value_map(panel, rule.reward)[
        ["n_planned", "n_settled", "n_diverged", "n_lost", "n_used", "state"]
    ]
    names = np.vectorize(lambda value: LABEL_NAMES[Label(int(value))], otypes=["U40"])
    told = {
        f"n_{LABEL_NAMES[label].replace(' ', '_')}": (of_trials == label).sum("member")
        for label in SETTLED_LABELS[:-2]
    }
    cells = found[["share", "share_low", "share_high"]].assign(told).assign(counts.data_vars)
    return cells.assign(
        label=found.phase.copy(data=names(found.phase.values)),
        code=found.phase,
        # As many as settled in the commonest label, whatever it is.
        n_agreeing=found["count"].max("of_phase"),
        n_lost_hold=(unstable(panel.ds, rule) & (of_trials >= Label.HEALTHY)).sum("member"),
    ).assign_attrs(
        statistic="commonest label",
        interval=f"Wilson {100 * confidence:g} %",
        rule=rule.sentence(),
    )


def phase_section(panel: Panel, wanted: Request, measures: tuple[str, ...]) -> Section:
    """Return the section of one panel: the map of labels."""
    rule = wanted.entropy
    cells = label_map(panel, rule)
    caption = (
        f"Commonest label{members_of(panel)}. n/N: trials with that label of those planned; "
        f"~: some trial was unstable. {rule.sentence()}."
    )
    if "ratio_std" not in panel.ds:
        caption += " ratio_std was not recorded: the ratios were not looked at."
    looks = [label_cell(cell) for _, _, cell in each_cell(cells)]
    legend = {f"{LABEL_LOOKS[k].letter} {LABEL_NAMES[k]}": LABEL_LOOKS[k] for k in ALWAYS_NAMED}
    shown = cells.drop_vars(["code", "n_agreeing", "n_lost_hold"]).assign(
        n_unstable_at_all=cells.n_lost_hold
    )
    drawn = map_of(
        panel,
        "entropy_phases",
        "Entropy and reward at the end",
        shown,
        caption,
        looks,
        label_facts,
        lambda: category_figure(panel, cells, looks, legend, caption),
        dict(legend),
    )
    return Section(panel.title, panel, (drawn,), measures[:2], log_step(panel), (rule.learnt,))


def label_cell(cell: Mapping[str, Any]) -> tuple[Look, str, str]:
    """Return look, text and legend entry of one cell of the map."""
    label = Label(int(cell["code"]))
    look = LABEL_LOOKS[label]
    text = ""
    if label in SETTLED_LABELS:
        mark = "~" if cell["n_lost_hold"] and label != Label.UNSTABLE else ""
        text = f"{look.letter}{mark}\n{int(cell['n_agreeing'])}/{int(cell['n_planned'])}"
    return look, text, f"{look.letter} {LABEL_NAMES[label]}".strip()


def label_facts(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the label of a cell, its share with interval, and all counts."""
    facts = [("label", str(cell["label"]))]
    if np.isfinite(cell["share"]):
        ends = f"{format_value(float(cell['share_low']), 2)} to "
        ends += format_value(float(cell["share_high"]), 2)
        facts.append(("share", f"{float(cell['share']):.2f} ({ends})"))
    told = [(LABEL_NAMES[k], f"n_{LABEL_NAMES[k].replace(' ', '_')}") for k in SETTLED_LABELS[:-2]]
    others = ", ".join(f"{int(cell[key])} {name}" for name, key in told if cell[key])
    if others:
        facts.append(("trials", others))
    if cell["n_unstable_at_all"]:
        facts.append(("unstable at some time", str(int(cell["n_unstable_at_all"]))))
    return facts
