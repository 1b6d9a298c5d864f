"""What sacctmgr tells of accounts and QOS."""

from __future__ import annotations

from collections.abc import Sequence

from phasecube.cluster.rehearsal.request import RefusalError
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.rehearsal.words import Words, table

ASSOC = (
    "Cluster,Account,User,Partition,Share,Priority,GrpJobs,GrpTRES,GrpSubmit,GrpWall,GrpTRESMins,"
    "MaxJobs,MaxTRES,MaxTRESPerNode,MaxSubmit,MaxWall,MaxTRESMins,QOS,Def QOS,GrpTRESRunMins"
)
USER = "User,Def Acct,Admin"
QOS = (
    "Name,Priority,GraceTime,Preempt,PreemptExemptTime,PreemptMode,Flags,UsageThres,UsageFactor,"
    "GrpTRES,GrpTRESMins,GrpTRESRunMins,GrpJobs,GrpSubmit,GrpWall,MaxTRES,MaxTRESPerNode,"
    "MaxTRESMins,MaxWall,MaxTRESPU,MaxJobsPU,MaxSubmitPU,MaxTRESPA,MaxJobsPA,MaxSubmitPA,MinTRES"
)
ALIASES = {
    "maxsubmitjobs": "MaxSubmit", "maxsubmitjobsperuser": "MaxSubmitPU",
    "maxsubmitperuser": "MaxSubmitPU", "maxjobsperuser": "MaxJobsPU",
    "maxtresperuser": "MaxTRESPU", "defaultqos": "Def QOS", "defqos": "Def QOS",
    "maxwalldurationperjob": "MaxWall", "grpsubmitjobs": "GrpSubmit",
    "maxsubmitjobsperaccount": "MaxSubmitPA", "maxtresperjob": "MaxTRES",
    "defaultaccount": "Def Acct",
}  # fmt: skip
FLAGS = {"n": "noheader", "P": "parsable2", "p": "parsable"}
PLAIN = ("where", "withassoc", "withclusters")


def sacctmgr(state: State, arguments: Sequence[str], user: str) -> str:
    """Return what sacctmgr show assoc, show user and show qos print; raises RefusalError."""
    if not state.cluster.accounting:
        raise RefusalError(
            "You are not running a supported accounting_storage plugin\n"
            "Only 'accounting_storage/slurmdbd' is supported."
        )
    words = Words("sacctmgr", [word for word in arguments if word.startswith("-")], FLAGS)
    verb, what, *rest = [w for w in arguments if not w.startswith("-") and w not in PLAIN] + [
        "",
        "",
    ]
    wanted = {}
    for word in filter(None, rest):
        name, equals, value = word.partition("=")
        wanted[name.lower().rstrip("s") if equals else "name"] = value if equals else name
    asked = [name for name in wanted.pop("format", "").split(",") if name]
    words.given["format"] = ",".join(ALIASES.get(name.lower(), name) for name in asked)
    if verb in ("show", "list") and what.startswith(("assoc", "user", "qos")):
        if what == "qos":
            rows, usual = _qos(state), QOS
        else:
            rows, usual = _associations(state, user), ASSOC if what.startswith("assoc") else USER
        if what.startswith("user"):
            wanted["user"] = wanted.pop("name", "") or user
            rows = [row for row in rows if row["User"]]
        rows = [row for row in rows if all(_is(row, *pair) for pair in wanted.items())]
        return table(words, rows, usual, " Unknown field '{}'")
    raise RefusalError(f"sacctmgr: a rehearsal answers show assoc, user and qos, not {what}")


def _is(row: dict[str, str], name: str, value: str) -> bool:
    shown = {field.lower(): text for field, text in row.items()}
    return name not in shown or not name or shown[name] in value.split(",")


def _associations(state: State, user: str) -> list[dict[str, str]]:
    """The accounts' own rows, and those of the user, who inherits."""
    accounts = state.cluster.accounts or (user,)
    most = state.cluster.max_submit_account
    blank = dict.fromkeys([*ASSOC.split(","), *USER.split(",")], "") | {
        "Cluster": "rehearsal",
        "Share": "1",
        "QOS": ",".join(state.cluster.qos or ("normal",)),
        "MaxSubmit": "" if most is None else str(most),
        "Def Acct": accounts[0],
        "Admin": "None",
        "ParentName": "",
    }
    own = [blank | {"Account": account, "ParentName": "root"} for account in accounts]
    return own + [row | {"User": user, "ParentName": ""} for row in own]


def _qos(state: State) -> list[dict[str, str]]:
    limits = {"MaxSubmitPU": state.cluster.max_submit, "MaxJobsPU": state.cluster.max_running}
    shown = {field: str(limit) for field, limit in limits.items() if limit is not None}
    usual = {"Priority": "0", "GraceTime": "00:00:00", "PreemptMode": "cluster"}
    usual |= {"UsageFactor": "1.000000"}
    blank = dict.fromkeys(QOS.split(","), "")
    return [blank | usual | shown | {"Name": name} for name in state.cluster.qos or ("normal",)]
