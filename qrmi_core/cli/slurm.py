# SPDX-License-Identifier: Apache-2.0
"""`qrmi slurm`: what an administrator installs for Slurm, and where a private cluster for trying it out is."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qrmi_core.cli.options import Config, Json
from qrmi_core.cli.output import note, print_json, print_text
from qrmi_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrmi_core.slurm.files import Written

__all__ = ["add_to"]

PORT = 7811

Force = Annotated[bool, typer.Option("--force", help="Overwrite files that have other content.")]


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Slurm: for administrators.", no_args_is_help=True, rich_markup_mode=None)
    group.command("files")(files)
    group.command("configure")(configure)
    group.command("env")(env)
    app.add_typer(group, name="slurm")


def files(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where they are written.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the files that Slurm's hosts need: plugin source, job_submit.lua, prolog and epilog, systemd units.

    They are those of this version. Where they belong is in the administrator guide.
    """
    from qrmi_core.slurm.files import write

    _tell(write(directory, force=force), as_json=as_json)


def configure(
    config: Config = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write files; by default all is printed.")
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Of the gateway; by default what gateway.json says, else port {PORT} here."),
    ] = None,
    ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="The authority of the gateway's certificate, as hosts have it.")
    ] = None,
    munge_socket: Annotated[str | None, typer.Option(metavar="PATH", help="Where munged's is not the usual.")] = None,
    slurm_conf: Annotated[str | None, typer.Option(metavar="FILE", help="Where nodes' is not the usual.")] = None,
    state_dir: Annotated[str, typer.Option(metavar="DIR", help="Of jobs' states on nodes.")] = "/run/qrmi",
    library: Annotated[str, typer.Option(metavar="DIR", help="Of plugin and scripts on nodes.")] = "/usr/lib/qrmi",
    patience: Annotated[
        int, typer.Option(min=5, max=3600, help="Seconds that a job's start may wait for its QPU.")
    ] = 25,
    slurmdbd: Annotated[
        bool, typer.Option("--slurmdbd", help="This cluster has accounting: record time on QPUs.")
    ] = False,
    force: Force = False,
) -> None:
    """Make from qrmi_config.json what Slurm and its hosts have to be told of the QPUs.

    Lines for slurm.conf and plugstack.conf, commands for limits, the table for job_submit.lua, client.json and
    node.json. No secret is in any of them.
    """
    from qrmi_core.environment import config_file
    from qrmi_core.slurm.configure import Site, no_bundle, qpus
    from qrmi_core.slurm.configure import files as make
    from qrmi_core.slurm.files import write_texts

    file = config_file(config)
    if file is None:
        raise ConfigurationError("there is no configuration of QPUs: --config FILE, or /etc/qrmi/qrmi_config.json")
    if gateway is None:
        gateway = _address()
        note(f"the gateway is taken to be {gateway}; --gateway URL says otherwise")
    site = Site(
        gateway,
        ca,
        munge_socket,
        slurm_conf,
        state_dir=state_dir,
        library=library,
        patience=patience,
        slurmdbd=slurmdbd,
    )
    texts = make(qpus(file), site)
    if output is None:
        for name, text in texts.items():
            print_text(f"==> {name} <==\n{text}")
    else:
        _tell(write_texts(output, texts, force=force))
    if lacking := no_bundle(site, texts):
        note(lacking)


def env(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Of the private cluster, which `make cluster` started.")
    ] = Path("build/cluster"),
) -> None:
    """Print the lines for a shell that make Slurm's commands and ours use the private cluster.

    For example: eval "$(qrmi slurm env)"
    """
    found = {"SLURM_CONF": directory / "etc" / "slurm.conf", "QRMI_CLIENT_CONFIG": directory / "etc" / "client.json"}
    for path in found.values():
        if not path.is_file():
            raise InputError(
                f"{path} is not there: start the private cluster with `make cluster`, or name its directory"
            )
    print_text("".join(f"export {name}={shlex.quote(str(path.resolve()))}\n" for name, path in found.items()))


def _address() -> str:
    """Where other hosts reach the gateway that is, or will be, on this host."""
    from qrmi_core.environment import gateway_file
    from qrmi_core.gateway.settings import load_gateway_settings, split_address

    here = socket.getfqdn()
    host, port, scheme = socket.gethostname() if here.startswith("localhost") else here, PORT, "https"
    if gateway_file() is None:
        return f"{scheme}://{host}:{port}"
    _, settings = load_gateway_settings()
    if settings.tls is None:
        scheme = "http"
    if settings.listen.admin_tcp is None:
        return f"unix:{settings.listen.admin}"
    named, port = split_address(settings.listen.admin_tcp)
    return f"{scheme}://{host if named in {'0.0.0.0', '::'} else named}:{port}"  # noqa: S104  that is what is left out


def _tell(written: Sequence[Written], *, as_json: bool = False) -> None:
    if as_json:
        print_json([{"path": str(each.path), "mode": f"{each.mode:04o}", "changed": each.changed} for each in written])
        return
    for each in written:
        print_text(f"{each.mode:04o}  {each.path}{'' if each.changed else '  (as it was)'}")
