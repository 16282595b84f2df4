"""The architecture as a test: a module imports only from lower levels."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hailuo_mcp"
LEVELS = [
    {"rules", "errors", "clocks", "redaction", "plain", "records", "handles"},
    {
        "camera",
        "answers",
        "connections",
        "terminal.exits",
        "terminal.console",
        "media.containers",
        "media.boards",
        "remote",
        "films.script",
        "waiting",
        "gate",
        "submission",
    },
    {"media.motion", "journal_schema", "terminal.arguments", "media.pictures"},
    {"media.mending"},
    {"settings", "files", "frames", "api", "journal", "journal_health", "media.mp4", "video"},
    {"media.damage", "media.animatic"},
    {
        "downloads",
        "setup.hosts",
        "setup.machine",
        "terminal.reports",
        "media.joining",
        "films.journal",
        "media.miniatures",
        "owed",
    },
    {"collector", "setup.host_files", "films.film"},
    {"stills", "films.cutting"},
    {"review"},
    {"viewing", "films.plan"},
    {"studio", "films.screening", "films.words"},
    {"films.filming"},
    {"films.films"},
    {"app", "terminal.typed"},
    {"surface.contract", "surface.rows", "surface.updates", "surface.consent", "surface.media"},
    {"surface.tool"},
    {"surface.films", "surface.tools", "surface.looking", "surface.resources", "surface.prompts", "surface.player"},
    {"surface.tasks"},
    {"server"},
    {"hosting"},
    {
        "demo",
        "terminal.videos",
        "terminal.films",
        "terminal.looking",
        "setup.installing",
        "setup.doctor",
        "setup.bundle",
    },
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}
# The simulator reads the contract for itself; only those who run it may import it.
SIMULATOR_USES = {"rules", "camera", "video", "media.animatic"}
SIMULATOR_USERS = {"demo", "cli"}


def modules() -> list[str]:
    names = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(name.parts) for name in names if name.name != "__init__")


def imports(module: str) -> set[str]:
    """Our own modules that a module imports, wherever in the file."""
    tree = ast.parse((PACKAGE / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hailuo_mcp":
            base = node.module.removeprefix("hailuo_mcp").lstrip(".")
            found |= {base} if base in LEVEL_OF else {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("hailuo_mcp.") for a in node.names if a.name.startswith("hailuo_mcp.")}
    return found


@pytest.mark.parametrize("module", [name for name in modules() if not name.startswith("simulator")])
def test_a_module_imports_only_from_lower_levels(module: str) -> None:
    assert module in LEVEL_OF, f"{module} has no level yet"
    for used in imports(module):
        if used.startswith("simulator"):
            assert module in SIMULATOR_USERS
        else:
            assert LEVEL_OF[used] < LEVEL_OF[module], f"{module} imports {used}"


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("simulator")])
def test_the_simulator_is_a_second_reader_of_the_contract(module: str) -> None:
    assert {name for name in imports(module) if not name.startswith("simulator")} <= SIMULATOR_USES


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        # `api` speaks to one trusted host with the key; `remote` looks at anybody's URLs, without it and with a guard.
        ("httpx", {"api", "connections", "remote"}),
        ("sqlalchemy", {"journal", "journal_schema", "journal_health", "films.journal"}),
        ("av", {"video", "media.animatic", "media.damage", "media.joining", "media.miniatures"}),
        (
            "PIL",
            {
                "media.pictures",
                "media.mending",
                "frames",
                "media.boards",
                "viewing",
                "video",
                "media.animatic",
                "films.screening",
                "media.miniatures",
                "simulator.stills",
            },
        ),
    ],
)
def test_each_outside_thing_has_one_owner(library: str, owners: set[str]) -> None:
    for module in modules():
        tree = ast.parse((PACKAGE / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
        used = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert library not in used or module in owners, f"{module} imports {library}"
