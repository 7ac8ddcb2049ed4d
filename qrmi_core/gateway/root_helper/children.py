# SPDX-License-Identifier: Apache-2.0
"""What the helper has done by others: by a child that is another user, or by one of Slurm's commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from qrmi_core.errors import QRMIError

__all__ = ["CommandFailed", "run_as", "run_slurm"]

PATH = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/opt/slurm/bin"
SECONDS = 10.0


class CommandFailed(QRMIError):
    """A child or a command did not do what it was started for."""


def run_as(uid: int, gid: int, work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked child that has become this user for good, in no group but ``gid``.

    Raises:
        CommandFailed: it raised something; its text.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            told = f"+{work()}"
        except BaseException as error:  # noqa: BLE001  nothing of the child may go on in the parent's name
            told = f"-{error}"
        finally:
            os.write(write, told.encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    if not told.startswith("+"):
        raise CommandFailed(told.removeprefix("-") or "the child was killed")
    return told.removeprefix("+")


def run_slurm(slurm_conf: str | None, program: str, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of one of Slurm's commands; no shell, nothing inherited from the environment.

    Raises:
        CommandFailed: it is not installed, or did not end in time.
    """
    found = shutil.which(program, path=PATH)
    if found is None:
        raise CommandFailed(f"there is no {program} in {PATH}: install Slurm's commands on the gateway's host")
    environment = {"PATH": PATH, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
    if slurm_conf is not None:
        environment["SLURM_CONF"] = slurm_conf
    try:
        done = subprocess.run(
            [found, *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{program} did not end within {SECONDS:g} s", transient=True) from None
    return done.returncode, done.stdout.decode(errors="replace").strip()
