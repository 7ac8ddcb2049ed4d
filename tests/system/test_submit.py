# SPDX-License-Identifier: Apache-2.0
"""What sbatch, salloc and srun do with --qpu: licences, and refusals with their reason. Real Slurm."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cluster import Jobs, all_idle, by_root, show

from qrmi_core import polling
from qrmi_core.slurm.cluster import Cluster

FORGE = r"""
#include <stdlib.h>
#include <string.h>
#include <slurm/spank.h>
SPANK_PLUGIN(qrmi, 1)
static int take(int val, const char *value, int remote) { return 0; }
static struct spank_option option = { "qpu", "X", "forged", 1, 0, take };
int slurm_spank_init(spank_t sp, int ac, char **av) { return spank_option_register(sp, &option); }
int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
    if (spank_context() == S_CTX_REMOTE) return 0;
    for (int i = 0; i < ac; i++) {
        if (!strncmp(av[i], "noted=", 6)) spank_job_control_setenv(sp, "QPU", av[i] + 6, 1);
    }
    return 0;
}
"""
OLD = r"""
#include <slurm/spank.h>
const char plugin_name[] = "old", plugin_type[] = "spank";
const unsigned int plugin_version = 0x170b00, spank_plugin_version = 1;
int slurm_spank_init(spank_t sp, int ac, char **av) { return 0; }
"""
OPTION = "_SLURM_SPANK_OPTION_qrmi_qpu"


@pytest.fixture(autouse=True)
def _clean(bare: Cluster) -> Iterator[None]:
    yield
    bare.run(["scancel", "--state=PENDING"], timeout=10)


def licences(jobs: Jobs, *options: str, **variables: str) -> str:
    job = jobs.submit("--hold", *options, **variables)
    return show(jobs.cluster, job)["Licenses"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("ibm_fez", "qpu_ibm_fez:1"),
        ("aer_fez:2", "qpu_aer_fez:2"),
        ("aer_fez:full", "qpu_aer_fez:3"),
        ("IBM_FEZ,iqm_star:full,aer_fez:3", "qpu_ibm_fez:1,qpu_iqm_star:2,qpu_aer_fez:3"),
    ],
)
def test_qpus_become_licences(jobs: Jobs, option: str, expected: str) -> None:
    assert licences(jobs, f"--qpu={option}") == expected


def test_a_job_without_a_qpu_is_left_alone(jobs: Jobs) -> None:
    assert licences(jobs) == "(null)"


def test_the_users_own_licences_are_kept(jobs: Jobs) -> None:
    bare = jobs.cluster
    bare.options["Licenses"] = "matlab:5,qpu_ibm_fez:1,qpu_iqm_star:2,qpu_aer_fez:3"
    bare.write()
    bare.run(["scontrol", "reconfigure"])
    try:
        assert licences(jobs, "--licenses=matlab:2") == "matlab:2"
        held = licences(jobs, "--licenses=matlab:2", "--qpu=ibm_fez")
    finally:
        bare.run(["scancel", "--state=PENDING"], timeout=10)
        del bare.options["Licenses"]
        bare.write()
        bare.run(["scontrol", "reconfigure"])
    assert held == "matlab:2,qpu_ibm_fez:1"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("", "'': an item is empty; expected --qpu=NAME"),
        ("a,,b", "'': an item is empty; expected"),
        ("a,", "'': an item is empty"),
        ("9lives", "'9lives': a name begins with a letter or _"),
        ("a b", "'a b': a name begins with"),
        ("a-b", "'a-b': a name begins with"),
        ("a" * 41, "a name has at most 40 characters"),
        ("a:0", "'a:0': lanes are a number from 1 to 9999, or `full`"),
        ("a:10000", "lanes are a number from 1 to 9999"),
        ("a:", "'a:': lanes are"),
        ("a:1:2", "'a:1:2': lanes are"),
        ("a:FULL", "lanes are"),
        ("b,Ab:2,aB", "'aB': the same QPU is named twice"),
        (",".join(f"q{number}" for number in range(600)), "longer than 2048 characters"),
    ],
)
def test_a_mistake_of_form_is_told_by_the_command_itself(jobs: Jobs, option: str, text: str) -> None:
    done = jobs.sbatch(f"--qpu={option}")
    assert done.returncode != 0
    assert text in done.stderr
    assert "expected --qpu=NAME[:LANES|:full][,...]" in done.stderr


def test_srun_and_salloc_tell_it_too(jobs: Jobs) -> None:
    for command in (["srun", "--qpu=a:0", "true"], ["salloc", "--qpu=a:0", "true"]):
        done = jobs.run(*command)
        assert done.returncode != 0
        assert "'a:0': lanes are a number" in done.stderr


@pytest.mark.parametrize("command", [["sbatch", "--wrap=true"], ["srun", "true"], ["salloc", "true"]])
def test_a_typo_is_answered_with_the_names_nearest_first(jobs: Jobs, command: list[str]) -> None:
    done = jobs.run(command[0], "--qpu=ibm_fes", *command[1:])
    assert done.returncode != 0
    assert re.search("--qpu: there is no QPU 'ibm_fes' here; there are ibm_fez, aer_fez, IQM_star", done.stderr)


def test_too_many_lanes_are_refused(jobs: Jobs) -> None:
    done = jobs.sbatch("--qpu=ibm_fez,aer_fez:4")
    assert done.returncode != 0
    assert "--qpu=aer_fez:4: aer_fez has 3 lanes; ask for at most 3, or for all with aer_fez:full" in done.stderr


@pytest.mark.skipif(not by_root(), reason="whoever started the cluster may write licences")
@pytest.mark.parametrize("by_hand", ["qpu_ibm_fez", "QPU_ibm_fez:1", "a,Qpu_x:2", "qpu_a@server:1", "a:1,qpu_b"])
def test_a_licence_written_by_hand_is_refused(jobs: Jobs, by_hand: str) -> None:
    done = jobs.sbatch(f"--licenses={by_hand}")
    assert done.returncode != 0
    assert f"--licenses={by_hand}: the licences of QPUs are written by Slurm itself; ask with --qpu" in done.stderr


@pytest.mark.skipif(not by_root(), reason="only root may write licences")
def test_root_may_write_licences(bare: Cluster) -> None:
    assert licences(Jobs(bare, None), "--licenses=qpu_ibm_fez:1") == "qpu_ibm_fez:1"


def test_the_licences_of_a_job_with_a_qpu_cannot_be_changed(jobs: Jobs) -> None:
    if not by_root():
        pytest.skip("whoever started the cluster may change everything")
    job = jobs.submit("--hold", "--qpu=aer_fez:2")
    plain = jobs.submit("--hold")
    for target, new in ((job, "qpu_aer_fez:1"), (job, ""), (job, "qpu_ibm_fez"), (plain, "QPU_ibm_fez:1")):
        assert jobs.run("scontrol", "update", f"JobId={target}", f"Licenses={new}").returncode != 0
    assert show(jobs.cluster, job)["Licenses"] == "qpu_aer_fez:2"
    assert show(jobs.cluster, plain)["Licenses"] == "(null)"
    assert jobs.run("scontrol", "update", f"JobId={job}", "TimeLimit=3").returncode == 0


def test_only_the_leader_of_a_heterogeneous_job_can_have_qpus(jobs: Jobs) -> None:
    refused = "stands in component 1 of the job: only the first component can hold QPUs"
    for first, second in ((), ("--qpu=ibm_fez",)), (("--qpu=ibm_fez",),) * 2, (("--qpu=ibm_fez",), ("--qpu=aer_fez",)):
        for command in ("sbatch", "--wrap=true"), ("salloc", "true"), ("srun", "true"):
            done = jobs.run(command[0], "-n1", *first, ":", "-n1", *second, command[1])
            assert done.returncode != 0
            assert f"--qpu={second[0].removeprefix('--qpu=')} {refused}" in done.stderr
    done = jobs.run("sbatch", "--parsable", "--hold", "-n1", "--qpu=ibm_fez", ":", "-n1", "--wrap", "true")
    assert done.returncode == 0, done.stderr
    leader = int(done.stdout)
    assert show(jobs.cluster, f"{leader}+0")["Licenses"] == "qpu_ibm_fez:1"
    assert show(jobs.cluster, f"{leader}+1")["Licenses"] == "(null)"


def test_forged_and_disagreeing_options_are_refused_or_harmless(jobs: Jobs) -> None:
    assert licences(jobs, "--qpu=aer_fez", SLURM_SPANK_QPU="ibm_fez") == "qpu_aer_fez:1"
    assert licences(jobs, "--qpu=aer_fez", **{OPTION: "ibm_fez"}) == "qpu_aer_fez:1"
    assert licences(jobs, SLURM_SPANK_QPU="ibm_fez") == "(null)"
    forged = jobs.sbatch(**{OPTION: "ibm_fez"})
    assert forged.returncode != 0
    assert "--qpu=ibm_fez was not taken from the command line: leave variables with SPANK" in forged.stderr


def test_what_reaches_slurm_without_the_plugin_is_checked_as_well(bare: Cluster, jobs: Jobs) -> None:
    """Whoever speaks to slurmctld by another way than our plugin: here, the same one under no supervision."""
    plugstack = bare.places.etc / "plugstack.conf"
    before = plugstack.read_text()
    source = bare.places.directory / "forge.c"
    source.write_text(FORGE)
    plugin = bare.places.lib / "forge.so"
    bare.run(["gcc", "-fPIC", "-shared", "-o", str(plugin), str(source)])
    try:
        for noted, option, text in (
            ("aer_fez", "ibm_fez", "--qpu=ibm_fez was not taken from the command line"),
            ("aer_fez;x", "aer_fez;x", "'aer_fez;x' is not of the form NAME"),
            ("aer_fez:99", "aer_fez:99", "has 3 lanes"),
            ("aer_fez:00", "aer_fez:00", "is not of the form"),
            ("aer_fez,AER_FEZ", "aer_fez,AER_FEZ", "is named twice"),
            ("%s%n", "%s%n", "'%s%n' is not of the form"),
        ):
            plugstack.write_text(f"required {plugin} noted={noted}\n")
            for done in (jobs.sbatch(f"--qpu={option}"), jobs.srun(f"--qpu={option}", "true")):
                assert done.returncode != 0
                assert text in done.stderr, (noted, option, done.stderr)
    finally:
        plugstack.write_text(before)


def test_the_table_is_read_anew_and_the_last_good_one_counts(bare: Cluster, jobs: Jobs) -> None:
    before = dict(bare.qpus)
    table = bare.places.etc / "qrmi_qpus.lua"
    try:
        bare.set_qpus({"second": 4}, {"second": 'calibration until "noon" \\ 100 % sure'})
        job = jobs.sbatch("--hold", "--qpu=second:4")
        assert show(bare, job.stdout.strip())["Licenses"] == "qpu_second:4"
        told = 'second is out of service: calibration until "noon" \\ 100 % sure. The job waits until it is back'
        assert told in job.stderr
        assert "there is second" in jobs.sbatch("--qpu=ibm_fez").stderr
        for broken in ("return {", "return 7", "return { qpus = { A = {} } }", "os.exit(1)"):
            table.write_text(broken)
            assert licences(jobs, "--qpu=second") == "qpu_second:1"
        table.unlink()
        assert licences(jobs, "--qpu=second") == "qpu_second:1"
        assert licences(jobs) == "(null)"
    finally:
        bare.run(["scancel", "--state=PENDING"], timeout=10)
        bare.set_qpus(before)
    assert licences(jobs, "--qpu=ibm_fez") == "qpu_ibm_fez:1"


SITE = """
local here = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(here .. "qrmi_job_submit.lua")
function slurm_job_submit(job_desc, part_list, submit_uid)
    if job_desc.name == "forbidden" then slurm.log_user("no job of this name at this site") return slurm.ERROR end
    return qrmi.submit(job_desc, submit_uid)
end
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return qrmi.modify(job_desc, job_rec, modify_uid)
end
return slurm.SUCCESS
"""


def test_the_script_of_a_site_can_call_ours(bare: Cluster, jobs: Jobs) -> None:
    script = bare.places.etc / "job_submit.lua"
    own = script.read_text()

    def loaded(text: str, *, forbids: bool) -> bool:
        """Slurm reads its script anew when the file is younger, by whole seconds, than what it has."""
        script.write_text(text)
        done = jobs.sbatch("--hold", "--job-name=forbidden")
        return (done.returncode != 0 and "no job of this name at this site" in done.stderr) is forbids

    (bare.places.etc / "qrmi_job_submit.lua").write_text(own)
    try:
        assert polling.wait_until(lambda: loaded(SITE, forbids=True), timeout=10)
        assert licences(jobs, "--qpu=aer_fez:2") == "qpu_aer_fez:2"
        assert "there is no QPU 'x' here" in jobs.sbatch("--qpu=x").stderr
    finally:
        assert polling.wait_until(lambda: loaded(own, forbids=False), timeout=10)


def test_jobs_without_a_qpu_do_not_need_any_of_it(bare: Cluster, jobs: Jobs) -> None:
    """Plugin gone from a submit host and the nodes, or made for another Slurm: only --qpu is lost."""
    stacks = [bare.places.etc / "plugstack.conf", *(node.plugstack for node in bare.nodes)]
    source, old = bare.places.directory / "old.c", bare.places.lib / "old.so"
    source.write_text(OLD)
    bare.run(["gcc", "-fPIC", "-shared", "-o", str(old), str(source)])
    try:
        for plugin in (bare.places.lib / "nowhere.so", old):
            for stack in stacks:
                stack.write_text(f"optional {plugin}\n")
            done = jobs.srun("-N2", "echo", "ran")
            assert (done.returncode, done.stdout.split()) == (0, ["ran", "ran"]), done.stderr
            assert jobs.ended(jobs.submit())["JobState"] == "COMPLETED"
            asked = jobs.srun("--qpu=ibm_fez", "true")
            assert asked.returncode != 0
            assert "unrecognized option '--qpu=ibm_fez'" in asked.stderr
    finally:
        for stack in stacks:
            stack.unlink()
        bare.write()
    assert all_idle(bare)
