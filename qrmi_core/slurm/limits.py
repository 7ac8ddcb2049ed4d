# SPDX-License-Identifier: Apache-2.0
"""The commands with which a site limits its QPUs in Slurm, to paste from: Slurm enforces, nothing here does."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["sacctmgr_text", "tres_lines"]

ENFORCE = "AccountingStorageEnforce=associations,limits,qos,safe"


def tres_lines(licences: Sequence[str], *, slurmdbd: bool) -> str:
    """The lines of slurm.conf that have time on QPUs recorded; comments where there is no slurmdbd, which they need."""
    line = f"AccountingStorageTRES={','.join(f'license/{each}' for each in licences)}"
    if slurmdbd:
        return f"""\
# Time on QPUs in sacct and sreport. qrmi_sacctmgr.sh has the commands for limits, which need
# {ENFORCE}
{line}
"""
    return f"""\
# With slurmdbd: time on QPUs in sacct and sreport, and limits on it (qrmi_sacctmgr.sh). Without slurmdbd slurmctld does
# not start with this line; `qrmi slurm configure --slurmdbd` writes it for a cluster that has one.
#{line}
"""


def sacctmgr_text(licences: Sequence[str]) -> str:
    """Each command with a # in front; ANNA, PHYSICS and the figures are the site's to choose."""

    def each(value: str) -> str:
        return ",".join(f"license/{licence}={value}" for licence in licences)

    one = f"license/{licences[0]}"
    weights = ",".join(f"License/{licence}=100.0" for licence in licences)
    tres = ",".join(f"license/{licence}" for licence in licences)
    return f"""\
# Limits on QPUs, for Slurm to enforce. Written by `qrmi slurm configure`; none of them is needed, and run as it is this
# file does nothing. Paste what you want without its first #, with your names for ANNA, PHYSICS, qpu and normal.
# They need slurmdbd, the AccountingStorageTRES of qrmi_slurm.conf, and in slurm.conf
#   {ENFORCE}
#   PriorityType=priority/multifactor
# In place of a figure, -1 takes a limit back.

# Access. Only jobs of the QOS qpu (sbatch --qos=qpu) may ask for a QPU, and only some users have it. Others are told at
# submission: QOSMaxLicensePerJob.
#sacctmgr add qos qpu
#sacctmgr modify qos normal set MaxTRESPerJob={each("0")} Flags+=DenyOnLimit
#sacctmgr modify user ANNA set qos+=qpu

# Lanes at once. A user has at most so many of a QPU in the QOS qpu; a job that asks for more is refused, the next one
# waits (QOSMaxLicensePerUser). An account has at most so many; its next job waits (AssocGrpLicense).
#sacctmgr modify qos qpu set MaxTRESPerUser={each("1")} Flags+=DenyOnLimit
#sacctmgr modify account PHYSICS set GrpTRES={one}=1

# Budgets, in lane-minutes. With `safe` (see above) a job starts only if lanes x time limit fits into what is left, and
# waits otherwise (AssocGrpLicenseMinutes), or is refused where its QOS has DenyOnLimit: so time limits must be honest.
# Without `safe`, jobs are killed half way; with priority/basic, what was used does not count. Slurm counts whole
# minutes. What was used fades with PriorityDecayHalfLife; RawUsage=0 forgets it at once.
#sacctmgr modify account PHYSICS set GrpTRESMins={one}=600
#sacctmgr modify account PHYSICS set RawUsage=0

# Tariffs. In slurm.conf, on the partition's line: what a lane counts in fairshare and in `sreport -T billing`.
#TRESBillingWeights=CPU=1.0,{weights}

# Reports: lane time of users (to the last full hour), of a job, and with the tasks, shots and device seconds of both.
#sreport -t hours -T {tres} cluster AccountUtilizationByUser start=2026-01-01
#sacct -X -o JobID,User,Account,ElapsedRaw,AllocTRES%60,SystemComment%80
#qrmi usage --all --since 30d
"""
