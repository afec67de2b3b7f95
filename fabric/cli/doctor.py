"""`fabric doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import click

from fabric.cli.output import age, json_option, millis, print_json, table_lines
from fabric.cli.screen import coloured
from fabric.cli.target import node_names, with_client, with_state_dir
from fabric.runtime.local_socket import LocalClient

EXAM_TIMEOUT_S = 30.0  # it takes ten seconds, and the machine may be the trouble
SHOWN_OF_A_KIND_MAX = 4  # a dead switch is one story, however many nodes are behind it
HEAD = ("PEER", "STATE", "HEARD", "PORT", "RTT", "32 KIB", "CLOCK", "LAG", "SEES US", "SAME TABLE", "VERSION")


@click.group()
def doctor() -> None:
    """Find out what is wrong."""


@doctor.command()
@click.argument("names", nargs=-1, metavar="[NODE]...", shell_complete=node_names)
@json_option
@with_client
def mesh(client: LocalClient, names: tuple[str, ...], as_json: bool) -> None:
    """Examine this node's mesh: ports, links in both directions, packet sizes, clocks, keys, versions.

    Looks at the NODEs named, else at the troubled ones, the neighbours, and some others. Changes nothing; a
    link that loses large packets may break under the test with 32 KiB, and is made again. Answers within
    about ten seconds on a node that is cut off, too. Exit status 0: all is well, 1: findings."""
    query = urlencode([("node", name) for name in names])
    report = client.get(f"/doctor/mesh?{query}" if query else "/doctor/mesh", timeout_s=EXAM_TIMEOUT_S)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        raise click.exceptions.Exit(1)


@doctor.command("log")
@click.option(
    "--from",
    "backup",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fold from this backup on: where the log does not start at entry 1 any more.",
)
@click.option("--copy", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Of a directory.")
@with_state_dir
def examine_log(state_dir: Path, backup: Path | None, copy: Path | None) -> None:
    """Verify the log and the rows of a node whose agent is stopped, or of a --copy of its directory.

    Reads all of the log: checksums, and that each record continues the one before. Folds it anew where it can
    and compares every table. Changes nothing there. Exit status 0: all is well, 1: findings."""
    from fabric.store.life_swap import STATE
    from fabric.store.lock import DirectoryLock
    from fabric.store.verify import verify

    directory = copy or state_dir
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        if not (directory / STATE).is_dir():
            raise click.ClickException(f"no log in {directory}")
        with TemporaryDirectory(prefix="doctor-", dir=directory) as scratch:
            report = verify(directory / STATE, Path(scratch), backup)
    finally:
        lock.release()
    for finding in report.findings:
        click.echo(f"{coloured('error')}: {finding.what}  [{finding.check}]")
        click.echo(f"    cure: {finding.cure}")
    how = "positions compared (--from a backup compares rows)"
    if report.refolded_from is not None:
        how = f"rows compared with those folded from entry {report.refolded_from + 1}"
    verdict = "see above" if report.findings else "all well"
    click.echo(f"{report.entries} entries in the log, rows at {report.applied}, {how}: {verdict}")
    if report.findings:
        raise click.exceptions.Exit(1)


def _print(report: dict[str, Any]) -> None:
    if report["peers"]:
        for line in table_lines(HEAD, [_cells(peer) for peer in report["peers"]], {1: coloured}):
            click.echo(line)
        click.echo()
    by_check: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        by_check.setdefault((finding["severity"], finding["check"]), []).append(finding)
    for findings in by_check.values():
        _print_kind(findings)
    left_out = f", {report['left_out']} more left out" if report["left_out"] else ""
    click.echo(
        f"{report['node']} knows {report['members']} nodes; {report['examined']} peers examined{left_out} in "
        f"{report['took_s']:.1f} s: {'all well' if report['ok'] else 'see above'}"
    )


def _print_kind(findings: Sequence[dict[str, Any]]) -> None:
    for finding in findings[:SHOWN_OF_A_KIND_MAX]:
        about = f"{finding['peer']}: " if finding["peer"] else ""
        click.echo(f"{coloured(finding['severity'])}: {about}{finding['what']}  [{finding['check']}]")
        click.echo(f"    cure: {finding['cure']}")
    rest = [finding["peer"] for finding in findings[SHOWN_OF_A_KIND_MAX:]]
    if rest:
        click.echo(
            f"    the same of {len(rest)} more: {', '.join(rest[:20])}{', ...' if len(rest) > 20 else ''}"
        )


def _cells(peer: dict[str, Any]) -> tuple[object, ...]:
    return (
        peer["name"],
        peer["state"],
        age(peer["age_s"]),
        {None: "?", "reachable": "open"}.get(peer["port"], peer["port"]),
        millis(peer["rtt_ms"]) if peer["error"] is None else "lost",
        _yes(peer["large_ok"]),
        _clock(peer["clock_ahead_ms"]),
        "-" if peer["lag_ms"] is None else f"{peer['lag_ms']}ms",
        peer["sees_us"] or "?",
        _yes(peer["same_table"]),
        peer["version"],
    )


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def _clock(ahead_ms: int | None) -> str:
    return "?" if ahead_ms is None else f"{ahead_ms / 1_000:+.2f}s"
