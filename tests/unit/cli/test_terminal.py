# SPDX-License-Identifier: Apache-2.0
"""`qrmi run` on a terminal, under an interactive shell: Ctrl-C, Ctrl-Z, fg and bg."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest
from cli_site import Site

from qrmi_core.polling import wait_until

SECONDS = 30.0
CTRL_C = "\x03"
CTRL_Z = "\x1a"

PROGRAM = """
import os, signal, sys, time
def say(text):
    os.write(1, f"program: {text}\\n".encode())  # unlike print, a handler may call it wherever it interrupts
def interrupted(*_):
    say("interrupted")
    sys.exit(9)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGCONT, lambda *_: say("continued"))
say("in front" if os.tcgetpgrp(0) == os.getpgrp() else "behind")
while True:
    time.sleep(0.05)
"""


class Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self, site: Site) -> None:
        self._seen = ""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(site.directory)
            environment = site.environment | {"PS1": "prompt> ", "TERM": "dumb", "HISTFILE": ""}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)
        self.expect("prompt> ")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def expect(self, pattern: str) -> str:
        """Wait for a pattern in what the terminal shows, and forget everything up to its end."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self._seen!r}"
            self._seen += os.read(self._terminal, 65536).decode()
        self._seen = self._seen[found.end() :]
        return found.group()

    def foreground(self) -> None:
        """Type `fg` and wait until the shell has given the terminal away."""
        self.type("fg\n")
        assert wait_until(lambda: os.tcgetpgrp(self._terminal) != self.pid, timeout=SECONDS)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture
def shell(site: Site) -> Iterator[Shell]:
    shell = Shell(site)
    yield shell
    shell.close()


def run(site: Site, shell: Shell, *, behind: bool = False) -> None:
    program = site.script(PROGRAM)
    shell.type(f"qrmi run --qpu=tiny -- {sys.executable} {program}{' &' if behind else ''}\n")
    shell.expect(f"program: {'behind' if behind else 'in front'}")


def test_ctrl_c_reaches_the_program_which_decides(site: Site, shell: Shell) -> None:
    run(site, shell)
    shell.type(CTRL_C)
    shell.expect("program: interrupted")
    shell.expect("prompt> ")
    shell.type("echo code $?\n")
    shell.expect(r"\ncode 9\r")


def test_ctrl_z_stops_the_program_and_fg_continues_it(site: Site, shell: Shell) -> None:
    run(site, shell)
    for _ in range(2):
        shell.type(CTRL_Z)
        shell.expect(r"Stopped +qrmi run")
        shell.expect("prompt> ")
        shell.type("fg\n")
        shell.expect("program: continued")
    shell.type(CTRL_C)
    shell.expect("program: interrupted")
    shell.expect("prompt> ")


def test_what_ended_a_stop_does_not_end_the_next() -> None:
    stops = """
        import os
        from qrmi_core.cli.signals import Signals
        with Signals() as signals:
            signals.collect()
            signals.stop_as_asked(os.getpid())
            print("continued, and then:", signals.next(0.1))
    """
    command = [sys.executable, "-c", textwrap.dedent(stops)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            assert wait_until(lambda: os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)[0] != 0, timeout=SECONDS)
            process.send_signal(signal.SIGCONT)
            assert process.communicate(timeout=SECONDS)[0] == "continued, and then: None\n"
        finally:
            process.kill()


def test_bg_lets_the_program_go_on_while_the_shell_has_the_terminal(site: Site, shell: Shell) -> None:
    run(site, shell)
    shell.type(CTRL_Z)
    shell.expect(r"Stopped +qrmi run")
    shell.type("bg\n")
    shell.expect("program: continued")
    shell.type("echo alive $((6 * 7))\n")
    shell.expect("alive 42")
    shell.expect("prompt> ")
    shell.foreground()
    shell.type(CTRL_C)
    shell.expect("program: interrupted")
    shell.expect("prompt> ")


def test_a_program_that_began_behind_can_be_brought_to_the_front(site: Site, shell: Shell) -> None:
    run(site, shell, behind=True)
    shell.foreground()
    shell.type(CTRL_C)
    shell.expect("program: interrupted")
    shell.expect("prompt> ")


def test_a_program_behind_that_reads_waits_for_the_terminal(shell: Shell) -> None:
    shell.type("qrmi run --qpu=tiny -- sed -u -e s/typed/read/ -e q &\n")
    shell.expect("prompt> ")
    shell.type("until jobs -s | grep -q sed; do sleep 0.1; done; echo stopped $((6 * 7))\n")
    shell.expect("stopped 42")
    shell.expect("prompt> ")
    shell.foreground()
    shell.type("it was typed\n")
    shell.expect("it was read")
    shell.expect("prompt> ")


def test_a_program_in_front_can_read_after_it_was_behind(site: Site, shell: Shell) -> None:
    program = site.script("print('program: begins', flush=True); import time; time.sleep(1); print(input()[::-1])")
    shell.type(f"qrmi run --qpu=tiny -- {sys.executable} {program} &\n")
    shell.expect("program: begins")
    shell.foreground()
    shell.type("sdrawkcab\n")
    shell.expect("backwards")
    shell.expect("prompt> ")


def test_the_terminal_is_given_back_as_it_was_when_the_program_is_killed(site: Site, shell: Shell) -> None:
    program = site.script("import os, tty, signal; tty.setraw(0); os.kill(os.getpid(), signal.SIGKILL)")
    shell.type(f"qrmi run --qpu=tiny -- {sys.executable} {program}\n")
    shell.expect("prompt> ")
    shell.type("stty -a; echo code $?\n")
    modes = shell.expect(r"(?s)\nspeed.*\ncode 0\r")
    assert re.search(r"(?<!-)\bicanon\b", modes)
    assert re.search(r"(?<!-)\becho\b", modes)


def test_what_is_waited_for_is_shown_on_a_terminal_and_wiped_out_again(site: Site, shell: Shell) -> None:
    site.script('{"program_id": "sampler", "parameters": {"sleep": 1}}', "payload.json")
    shell.type("export TERM=xterm; qrmi task run tiny payload.json > result.json\n")
    shell.expect(r"Waiting for task \w+ on tiny")
    shell.expect(r"\x1b\[2K")
    shell.expect("prompt> ")
    assert json.loads((site.directory / "result.json").read_text())["sleep"] == 1
