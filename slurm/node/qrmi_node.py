# SPDX-License-Identifier: Apache-2.0
"""What a node does for a job with a QPU: fetches its lease from the gateway, and says when the job is over.

Run by the shell fronts beside it, as root in Slurm's Prolog and Epilog, as SlurmUser in EpilogSlurmctld:

    qrmi_node.py prolog|epilog|epilogslurmctld [--config /etc/qrmi/node.json] [--state-dir /run/qrmi]

One file on the standard library: a node needs Python 3.9 and libmunge, nothing else. What the job's steps get stands in
its state file (see `State`). The exit code is 0 even where something failed: any other would drain the node.
"""

# ruff: noqa: INP001, PERF203, PTH102, PTH123, TID251
# It stands alone: no pathlib (it would be the dearest import), nothing of qrmi_core, nothing newer than Python 3.9.

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, NoReturn

REQUEUE_SHARE = 0.16  # of the patience is kept for putting the job back into the queue
ANSWER_SHARE = 0.12  # of it for the way of the gateway's answer
REPORT_SECONDS = 3.0  # for saying that a job is over; a gateway that does not hear it finds out by looking
CONNECT_SECONDS, FIRST_PAUSE, LONGEST_PAUSE = 5.0, 0.05, 2.0
CREDENTIALS_OF_SLURM, EPILOG_SECONDS, LONGEST_HOLDOFF = 120, 6, 600
PROTOCOL, LARGEST_ANSWER = 1, 1 << 20
CREDENTIAL_SECONDS, MUNGE_TTL, MUNGE_SOCKET = 60, 4, 8
VARIABLE = re.compile("([A-Za-z_][A-Za-z0-9_]*_)?QRMI_[A-Za-z0-9_]+|[A-Za-z_][A-Za-z0-9_]*_PASQAL_CONFIG_ROOT")
VENDOR_VARIABLES = {  # of vendors' clients: only these names, each for its use
    "set": "QISKIT_IBM_TOKEN QISKIT_IBM_URL QISKIT_IBM_INSTANCE QISKIT_IBM_CHANNEL IAM_URL "
    "GLOBAL_SEARCH_URL GLOBAL_CATALOG_URL QRMI_PASQAL_URL QRMI_PASQAL_TOKEN",
    "default": "REQUESTS_CA_BUNDLE SSL_CERT_FILE CURL_CA_BUNDLE",
    "extend": "NO_PROXY no_proxy",
}


class NodeProblem(Exception):
    """This node cannot do its part, however long one waits; the text says why and where."""


class Refused(Exception):
    """The gateway said no: `transient` where it may say yes later, `delay` where it said in how many seconds."""

    def __init__(self, reason: str, *, transient: bool = True, delay: int | None = None) -> None:
        super().__init__(reason)
        self.transient = transient
        self.delay = delay


class Unanswered(Refused):
    """Nobody who speaks our protocol answered; it may be different in a moment."""


class Settings:
    """node.json, checked."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "gateway": "", "ca": None, "munge_socket": None, "state_dir": "/run/qrmi", "patience": 25, "holdoff": 30,
        "slurm_conf": None, "bin": None,
    }  # fmt: skip
    gateway: str
    ca: str | None
    munge_socket: str | None
    state_dir: str
    patience: float
    holdoff: float
    slurm_conf: str | None
    bin: str | None

    def __init__(self, path: str, state_dir: str | None) -> None:
        """Raises NodeProblem with the file and the key for each mistake; `state_dir` is what the front was told."""
        try:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        except OSError as error:
            raise NodeProblem(f"the node's configuration {path} cannot be read: {_words(error)}") from None
        except ValueError as error:
            raise NodeProblem(f"the node's configuration {path} is no JSON: {error}") from None
        if not isinstance(given, dict):
            raise NodeProblem(f"{path}: a JSON object is expected")
        for key, value in {**self.DEFAULTS, **given}.items():
            if key not in self.DEFAULTS:
                raise NodeProblem(f"{path}: unknown key {key!r}; known are {', '.join(self.DEFAULTS)}")
            if key in {"patience", "holdoff"}:
                if type(value) not in {int, float} or not 0 <= value <= 86400 or (key == "patience" and not value):
                    raise NodeProblem(f"{path}: {key} must be a number of seconds")
            elif not isinstance(value, str) and not (value is None and self.DEFAULTS[key] is None):
                raise NodeProblem(f"{path}: {key} must be a text")
            setattr(self, key, value)
        if state_dir and given.get("state_dir", state_dir) != state_dir:
            raise NodeProblem(f"{path}: state_dir is not {state_dir}, but the front's STATE_DIR is: make them the same")
        found = re.fullmatch(r"unix:(/.+)|(https?)://(\[[\da-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?/?", self.gateway)
        if found is None:
            raise NodeProblem(f"{path}: gateway must be http://HOST:PORT, https://HOST:PORT or unix:/PATH")
        self.unix, self.scheme, self.host, port = found.groups(default="")
        self.port = int(port or (443 if self.scheme == "https" else 80))


class Job:
    """What Slurm says of the job in the environment of its scripts."""

    def __init__(self) -> None:
        self.id, self.uid = (os.environ.get(variable, "") for variable in ("SLURM_JOB_ID", "SLURM_JOB_UID"))
        if not re.fullmatch("[1-9][0-9]{0,18}", self.id) or not re.fullmatch("[0-9]{1,10}", self.uid):
            raise NodeProblem("SLURM_JOB_ID and SLURM_JOB_UID are no numbers: this is for Slurm's Prolog and Epilogs")
        self.node = os.environ.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0]


class Gateway:
    """The gateway, until a moment (monotonic seconds): asked again while nobody answers."""

    def __init__(self, settings: Settings, deadline: float) -> None:
        self._settings = settings
        self._deadline = deadline
        try:
            self._munge = ctypes.CDLL("libmunge.so.2")
        except OSError as error:
            raise NodeProblem(f"libmunge cannot be loaded on this node ({error}): install munge") from None
        self._munge.munge_ctx_create.restype = ctypes.c_void_p
        self._munge.munge_strerror.restype = ctypes.c_char_p
        if settings.scheme == "https":
            import ssl  # not for everybody: it costs as much as all others

            try:
                self._tls = ssl.create_default_context(cafile=settings.ca)
            except OSError as error:
                raise NodeProblem(f"the file ca ({settings.ca}) cannot be used: {_words(error)}") from None

    def left(self) -> float:
        return self._deadline - time.monotonic()

    def post(self, path: str, body: Callable[[float], dict[str, object]]) -> dict[str, Any]:
        """Its answer to a request, whose body is made anew for each attempt, of the seconds that are left.

        Raises:
            Refused: it said no.
            Unanswered: nobody said anything, or nothing that makes sense.
        """
        outcome: list[dict[str, Any] | Refused] = [Unanswered(f"the gateway {self._settings.gateway} is silent")]

        def attempts() -> None:
            pause = FIRST_PAUSE
            while True:
                try:
                    outcome.append(self._post_once(path, json.dumps(body(self.left())).encode()))
                except Refused as problem:
                    outcome.append(problem)
                if not isinstance(outcome[-1], Unanswered) or self.left() <= pause:
                    return
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

        # Looking up a name and asking munged cannot be broken off, but a thread can be left behind.
        thread = threading.Thread(target=attempts, daemon=True)
        thread.start()
        thread.join(max(0.0, self.left()))
        if isinstance(last := outcome[-1], Refused):
            raise last
        return last

    def _post_once(self, path: str, body: bytes) -> dict[str, Any]:
        credential = self._credential(f"qrmi1 POST {path} {hashlib.sha256(body).hexdigest()} {os.urandom(16).hex()}")
        head = f"POST {path} HTTP/1.0\r\nHost: {self._settings.host or 'localhost'}\r\nContent-Length: {len(body)}\r\n"
        more = f"Content-Type: application/json\r\nAuthorization: MUNGE {credential}\r\n\r\n"
        try:
            with self._connect() as connection:
                connection.sendall(f"{head}{more}".encode() + body)
                status, content = self._receive(connection)
        except OSError as error:
            raise Unanswered(f"the gateway {self._settings.gateway} does not answer: {_words(error)}") from None
        return _understood(status, content, self._settings.gateway)

    def _connect(self) -> socket.socket:
        settings = self._settings
        patience = min(CONNECT_SECONDS, max(0.1, self.left()))
        if settings.unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(patience)
            connection.connect(settings.unix)
            return connection
        host = settings.host.strip("[]")
        connection = socket.create_connection((host, settings.port), timeout=patience)
        return self._tls.wrap_socket(connection, server_hostname=host) if settings.scheme == "https" else connection

    def _receive(self, connection: socket.socket) -> tuple[int, bytes]:
        """Status and content; the request was HTTP/1.0, so that an answer ends with its length or the connection."""
        answer, length = b"", None
        while len(answer) <= LARGEST_ANSWER:
            connection.settimeout(max(0.001, self.left()))
            received = connection.recv(65536)
            answer += received
            head, gap, content = answer.partition(b"\r\n\r\n")
            if gap:
                told = re.search(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*(\r\n|$)", head, re.IGNORECASE)
                length = int(told[1]) if told else None
            if received and (length is None or len(content) < length):
                continue
            found = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", head)
            if not gap or found is None or len(content) < (length or 0):
                raise OSError(0, "its answer is broken off or no HTTP")
            return int(found[1]), content if length is None else content[:length]
        raise OSError(0, f"its answer has more than {LARGEST_ANSWER} bytes")

    def _credential(self, payload: str) -> str:
        """A credential of this user; munge(3), munge_ctx(3)."""
        munge, made = self._munge, ctypes.c_void_p()
        context = ctypes.c_void_p(munge.munge_ctx_create())
        try:
            munge.munge_ctx_set(context, ctypes.c_int(MUNGE_TTL), ctypes.c_int(CREDENTIAL_SECONDS))
            if self._settings.munge_socket:
                place = ctypes.c_char_p(os.fsencode(self._settings.munge_socket))
                munge.munge_ctx_set(context, ctypes.c_int(MUNGE_SOCKET), place)
            code = munge.munge_encode(ctypes.byref(made), context, payload.encode(), ctypes.c_int(len(payload)))
            if code:
                raise Unanswered(f"munged on this node makes no credential: {munge.munge_strerror(code).decode()}")
            return ctypes.string_at(made.value or 0).decode("ascii")
        finally:
            munge.munge_ctx_destroy(context)


def _understood(status: int, content: bytes, where: str) -> dict[str, Any]:
    """Only an answer in our form is the gateway's; a proxy's page in its place means that it is away."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("version") != PROTOCOL:
        raise Unanswered(f"{where} answered {status}, but not as a gateway of this version does")
    if status == 200:
        return document
    error = document.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("reason"), str):
        raise Unanswered(f"{where} answered {status} without a reason")
    requeue = error.get("requeue")
    delay = requeue.get("delay") if isinstance(requeue, dict) else None
    usable = isinstance(delay, (int, float)) and not isinstance(delay, bool) and 1 <= delay <= 86400
    raise Refused(error["reason"], transient=error.get("transient") is True, delay=int(delay or 0) if usable else None)


class State:
    """<state_dir>/<job id>, which the SPANK plugin reads: one item per line, for root only.

    "qrmi-state 1", "uid 1000", then either "refused REASON", or "lease ID" and lines made of the gateway's answer (of
    which "defaults" and what follows it may be missing) and of the job's option --qpu-env ("qpu-env off"):

        {"lease": ID, "uid": 1000,
         "environment": {NAME: VALUE},         set NAME=VALUE
         "defaults": {NAME: VALUE},            default NAME=VALUE: where the job has none of that name
         "absent": [NAME],                     unset NAME
         "vendor": {"set": {NAME: VALUE},      vendor set NAME=VALUE: as above, and --qpu-env=off leaves it out
                    "default": {NAME: FILE},   vendor default NAME=FILE
                    "extend": {NAME: HOST}},   vendor extend NAME=HOST: added to a list with commas
         "pythonpath": DIRECTORY}              vendor extend PYTHONPATH=DIRECTORY: where the job has QRMI_PASQAL_HOOK=1

    A FILE or DIRECTORY that is missing on this node, or that others than root may change, is left out.
    """

    def __init__(self, directory: str, job: Job) -> None:
        self._job = job
        self._path = f"{directory}/{job.id}"
        self._draft = f".{job.id}.new"
        try:
            if not os.path.lexists(directory):
                os.mkdir(directory, 0o700)
            # What is checked is what is used: the directory is named once.
            self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise NodeProblem(f"the state directory {directory} cannot be used: {_words(error)}") from None
        status = os.fstat(self._directory)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise NodeProblem(f"the state directory {directory} is not safe: it must be root's, with mode 0700")

    def refuse(self, reason: str) -> None:
        self._write([f"refused {_one_line(reason)}"])

    def grant(self, answer: dict[str, Any]) -> None:
        """Write what the gateway granted; NodeProblem where no state file can hold it or it is for somebody else."""
        lease, uid, absent = answer.get("lease"), answer.get("uid"), answer.get("absent", [])
        vendor, hook = answer.get("vendor", {}), answer.get("pythonpath", "")
        groups = {"set": answer.get("environment"), "default": answer.get("defaults", {})}
        if isinstance(vendor, dict):
            groups.update((f"vendor {use}", vendor.get(use, {})) for use in VENDOR_VARIABLES)
        in_form = all(isinstance(each, dict) for each in (vendor, *groups.values()))
        in_form = in_form and isinstance(absent, list) and isinstance(hook, str)
        if not in_form or not isinstance(lease, str) or not re.fullmatch("[0-9a-f]{32}", lease):
            raise NodeProblem("the gateway granted a lease in a form that this node does not know: compare versions")
        if isinstance(uid, bool) or not isinstance(uid, int) or str(uid) != self._job.uid:
            raise NodeProblem("the gateway granted a lease to another user than the one whose job starts here")
        lines, paths = [f"lease {lease}"], [("vendor extend PYTHONPATH=", hook)] if hook else []
        for item, name, value in [
            *((item, *pair) for item, variables in groups.items() for pair in variables.items()),
            *(("unset", name, None) for name in absent),
        ]:
            _check_variable(item, name, value)
            if item == "vendor default":
                paths.append((f"{item} {name}=", value))
            else:
                lines.append(f"{item} {name}" if value is None else f"{item} {name}={value}")
        for start, path in paths:
            try:
                lines.append(start + _only_roots(path))
            except NodeProblem as problem:  # jobs that do without it run as well
                log("prolog", self._job, f"left out: {start}{problem}")
        if os.environ.get("SPANK_QPU_ENV") == "off":
            lines.append("qpu-env off")
        self._write(lines)

    def lease(self) -> str | None:
        """The lease's id; None where there is no file, or one without a lease."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(self._job.id, flags, dir_fd=self._directory), "rb") as file:
                found = re.match(rb"qrmi-state 1\nuid [0-9]+\nlease ([0-9a-f]{32})\n", file.read(4096))
        except OSError:
            return None
        return found[1].decode() if found else None

    def remove(self, *names: str) -> None:
        for name in names or (self._job.id, self._draft):
            try:
                os.unlink(name, dir_fd=self._directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise NodeProblem(f"{self._path} cannot be removed: {_words(error)}") from None

    def _write(self, lines: list[str]) -> None:
        text = "\n".join(["qrmi-state 1", f"uid {self._job.uid}", *lines, ""])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.remove(self._draft)
        try:
            with open(os.open(self._draft, flags, 0o600, dir_fd=self._directory), "wb") as file:
                file.write(text.encode())
            os.rename(self._draft, self._job.id, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as error:
            raise NodeProblem(f"the state file {self._path} cannot be written: {_words(error)}") from None


def put_back(settings: Settings, job: Job, deadline: float, delay: int | None) -> str:
    """Let a batch job start again in `delay` seconds, by default later each time; what came of it, in words."""
    fields = ("JobID", "ArrayJobID", "ArrayTaskID", "State", "BatchFlag", "Requeue", "RestartCnt", "PriorityLong")
    try:
        listed = _slurm(settings, deadline, "squeue", "-h", "-a", "-j", job.id, "-O", ":|,".join(fields) + ":|")
        rows = (dict(zip(fields, line.split("|"))) for line in listed.splitlines())
        found = next((row for row in rows if row.get("JobID") == job.id and len(row) == len(fields)), {})
        state = found.get("State", "not listed by slurmctld")
        if state == "PENDING":  # another node's prolog was here first
            return "it is in the queue again"
        if state not in {"RUNNING", "CONFIGURING"}:  # a requeue would bring a cancelled job back to life
            return f"not put back into the queue: it is {state.lower()}"
        if found["BatchFlag"] != "1" or found["Requeue"] == "0":
            return "not put back into the queue: Slurm may requeue batch jobs only, and none with --no-requeue"
        task = found["ArrayTaskID"]
        # Never the raw id of an array's task: it may be the whole array's.
        target = f"{found['ArrayJobID']}_{task}" if task.isdigit() else job.id
        if delay is None:
            delay = min(LONGEST_HOLDOFF, int(settings.holdoff * 2 ** min(int(found["RestartCnt"]), 16)))
        # As Slurm's own requeues do: slurmd may start a job without its prolog while it knows the last credential.
        config = _slurm(settings, deadline, "scontrol", "show", "config")
        known = re.search(r"^AuthInfo\b.*\bcred_expire=(\d+)", config, re.MULTILINE)
        delay = max(delay, (int(known[1]) if known else CREDENTIALS_OF_SLURM) + EPILOG_SECONDS)
        # Held meanwhile: slurmctld could start it again between the two, and slurmd then leaves out its prolog.
        hold = found["PriorityLong"] != "0"
        if hold:
            _slurm(settings, deadline, "scontrol", "hold", target)
        try:
            _slurm(settings, deadline, "scontrol", "requeue", target)
            _slurm(settings, deadline, "scontrol", "update", f"JobId={target}", f"StartTime=now+{delay}")
        finally:
            if hold:
                _slurm(settings, deadline, "scontrol", "release", target)
    except (NodeProblem, ValueError) as problem:
        return f"not put back into the queue as it should be: {problem}"
    return f"put back into the queue for {delay} s"


def _slurm(settings: Settings, deadline: float, command: str, *arguments: str) -> str:
    """What one of Slurm's commands prints; NodeProblem with its last line where it fails."""
    import subprocess

    program, conf = f"{settings.bin or '/usr/bin'}/{command}", settings.slurm_conf or os.environ.get("SLURM_CONF")
    try:
        done = subprocess.run(
            [program, *arguments], env={"LC_ALL": "C", **({"SLURM_CONF": conf} if conf else {})}, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            errors="replace", timeout=max(0.5, deadline - time.monotonic()),
        )  # fmt: skip
    except OSError as error:
        raise NodeProblem(f"{program}: {_words(error)}") from None
    except subprocess.TimeoutExpired:
        raise NodeProblem(f"{command} does not end") from None
    if done.returncode:
        raise NodeProblem(_one_line((done.stdout.strip().splitlines() or [f"{command}: {done.returncode}"])[-1]))
    return done.stdout


def prolog(job: Job, config: str, state_dir: str | None) -> None:
    """Get the job its lease or leave a refusal; a batch job that is refused for now goes back into the queue."""
    started = time.monotonic()
    state = State(state_dir or Settings.DEFAULTS["state_dir"], job)
    # First of all a refusal: however this process ends, no step of the job starts without knowing why.
    state.refuse("the node's prolog was broken off before the gateway had answered; submit the job again")
    try:
        settings = Settings(config, state_dir)
        signal.setitimer(signal.ITIMER_REAL, settings.patience + 1.0)
        gateway = Gateway(settings, started + settings.patience * (1.0 - REQUEUE_SHARE))
        margin, request = settings.patience * ANSWER_SHARE, {"job_id": int(job.id), "node": job.node}
        state.grant(gateway.post("/v1/leases", lambda left: {**request, "wait": max(0.0, round(left - margin, 3))}))
    except NodeProblem as problem:
        state.refuse(str(problem))
        log("prolog", job, f"refused: {problem}")
    except Refused as problem:
        state.refuse(str(problem))
        what = "for good"
        if problem.transient:
            what = put_back(settings, job, started + settings.patience, problem.delay)
        log("prolog", job, f"refused: {problem}; {what}")


def epilog(job: Job, config: str, state_dir: str | None) -> None:
    """Tell the gateway that the job is over on this node."""
    state = State(state_dir or Settings.DEFAULTS["state_dir"], job)
    lease = state.lease()
    state.remove()  # before the report: a lease that nobody reports is found by others, a file that stays is not
    about, more = (f"leases/{lease}", {}) if lease else (f"jobs/{job.id}", {"before": int(time.time()) + 1})
    _report("epilog", job, Settings(config, state_dir), f"/v1/{about}/node-done", {"node": job.node, **more})


def epilogslurmctld(job: Job, config: str, state_dir: str | None) -> None:
    """Tell the gateway that slurmctld ends the job."""
    _report("epilogslurmctld", job, Settings(config, state_dir), f"/v1/jobs/{job.id}/ending", {})


def _report(verb: str, job: Job, settings: Settings, path: str, body: dict[str, object]) -> None:
    try:
        Gateway(settings, time.monotonic() + REPORT_SECONDS).post(path, lambda _: body)
    except Refused as problem:
        log(verb, job, f"{problem}; the gateway sees by itself that the job is over")


def _check_variable(item: str, name: object, value: object) -> None:
    """Raises NodeProblem: whoever answers in the gateway's place must not write LD_PRELOAD of other users' jobs."""
    use = item.partition(" ")[2]
    if not isinstance(name, str) or not (name in VENDOR_VARIABLES[use].split() if use else VARIABLE.fullmatch(name)):
        raise NodeProblem(f"the gateway sent a variable whose name is not {'known' if use else '[NAME_]QRMI_...'}")
    form = r"[A-Za-z0-9_.:\[\]-]+" if use == "extend" else "[^\n\0\ud800-\udfff]*"
    if item != "unset" and (not isinstance(value, str) or not re.fullmatch(form, value)):
        raise NodeProblem(f"the gateway sent {name} with a value that no state file can hold")


def _only_roots(path: str) -> str:
    """Where a file or directory really is; NodeProblem where it is missing, or others than root may change it."""
    place = part = os.path.realpath(path) if path.isascii() and "\0" not in path else ""
    if not path.startswith("/") or not re.fullmatch("[A-Za-z0-9_./+@%=-]+", place):
        raise NodeProblem("its path is not absolute, or has characters that are not letters, digits and _./+@%=-")
    while part:
        try:
            status = os.lstat(part)
        except OSError as error:
            raise NodeProblem(f"{part}: {_words(error)}") from None
        # In a sticky directory others can make files, but not replace what is root's.
        loose = status.st_mode & 0o022 and (part == place or not status.st_mode & 0o1000)
        if loose or status.st_uid not in {0, os.geteuid()}:
            raise NodeProblem(f"{part} is not root's, or others may write there")
        part = part.rpartition("/")[0]
    return place


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _one_line(text: str) -> str:
    return re.sub("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]+", " ", text).strip()[:1000] or "no reason was given"


def log(verb: str, job: Job | None, text: str) -> None:
    """One line for the administrator. In the system's log too: slurmd keeps a script's own only from debug2 on."""
    import syslog

    line = f"qrmi {verb}: {f'job {job.id}: ' if job else ''}{_one_line(text)}"
    sys.stderr.write(f"{line}\n")
    syslog.openlog("qrmi", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, line)


VERBS = {verb.__name__: verb for verb in (prolog, epilog, epilogslurmctld)}


def main(arguments: list[str]) -> NoReturn:
    """Do what `arguments` say; the exit code is 2 where they make no sense, else 0."""
    verb, options = "".join(arguments[:1]), dict(zip(arguments[1::2], arguments[2::2]))
    if verb not in VERBS or len(arguments) % 2 == 0 or not options.keys() <= {"--config", "--state-dir"}:
        sys.exit(f"usage: qrmi_node.py {'|'.join(VERBS)} [--config FILE] [--state-dir DIRECTORY]")
    # The kernel ends this process, whatever it hangs in.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, REPORT_SECONDS + 1.0)
    job = None
    try:
        job = Job()
        VERBS[verb](job, options.get("--config", "/etc/qrmi/node.json"), options.get("--state-dir"))
    except NodeProblem as problem:
        log(verb, job, str(problem))
    os._exit(0)  # a thread may still hang in the name service


if __name__ == "__main__":
    main(sys.argv[1:])
