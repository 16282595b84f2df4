"""`install` and `uninstall`: this server in an assistant's configuration, and out of it again."""

import argparse
import getpass
import json
import sys
from typing import Any

from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.settings import KEY_VARIABLE, Settings, load_settings
from hailuo_mcp.setup import hosts
from hailuo_mcp.setup.host_files import HostFile, open_host_file
from hailuo_mcp.terminal.console import Console
from hailuo_mcp.terminal.exits import EXIT_OK


def install(options: argparse.Namespace, console: Console) -> int:
    """Add this server to a host's file, or print the entry."""
    key = _key() if options.with_key else None
    host = _host(options.target)
    made = hosts.entry(host, start=hosts.command(), key=key, base_url=_base_url(), simulate=options.simulate)
    if host is None:
        console.result(json.dumps({"mcpServers": {options.name: made}}, indent=2))
        return EXIT_OK
    file = open_host_file(host.path)
    if not host.path.parent.is_dir():
        console.say(f"Note: {host.title} does not seem to be installed here; there is no {host.path.parent}.")
    document = hosts.with_entry(file.document, host, options.name, made)
    if _change(file, host, document, options, console):
        console.say(host.next_step)
    entry = next(entry for entry in hosts.our_entries(document, host) if entry.name == options.name)
    if not (entry.has_key or entry.asks_for_key or options.simulate):
        where = f"start {host.title} from a shell that has {KEY_VARIABLE} set, or " if host.passes_environment else ""
        console.say(f"The key is not in the file: {where}run this again with --with-key to write it there.")
    return EXIT_OK


def uninstall(options: argparse.Namespace, console: Console) -> int:
    """Take this server out of a host's file."""
    host = _host(options.target)
    assert host is not None
    file = open_host_file(host.path)
    _change(file, host, hosts.without_entry(file.document, host, options.name), options, console)
    return EXIT_OK


def _change(
    file: HostFile, host: hosts.Host, document: dict[str, Any], options: argparse.Namespace, console: Console
) -> bool:
    """Show or write what changes; says whether anything was written."""
    if document == file.document:
        console.say(f"Nothing to change in {file.path}.")
        return False
    if options.dry_run:
        console.result("\n".join(file.difference(document)))
        console.say("Nothing was written.")
        return False
    backup = file.write(document)
    console.result(str(file.path))
    if backup:
        key = any(entry.has_key for entry in hosts.our_entries(file.document, host))
        console.say(f"What it was before is kept in {backup}{', the key included' if key else ''}.")
    return True


def _host(target: str) -> hosts.Host | None:
    return next((host for host in hosts.known_hosts() if host.name == target), None)


def _base_url() -> str | None:
    """Where the API is, if the person named another place than the usual one."""
    named = load_settings().base_url
    return named if named != Settings.model_fields["base_url"].default else None


def _key() -> str:
    """The key from the environment, or typed in unseen; raises NotConfigured."""
    key = load_settings().api_key
    if key is None and sys.stdin.isatty():
        key = load_settings(api_key=getpass.getpass("DMXAPI key (not shown): ")).api_key
    if key is None:
        raise NotConfigured(f"--with-key writes the key from the environment variable {KEY_VARIABLE}; it is not set.")
    return key.get_secret_value()
