"""The image, replayed without a container runtime: what the Dockerfile copies is all that the program has."""

import ast
import fnmatch
import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from portcullis.cli.app import app
from portcullis.cli.face import Face
from portcullis.settings import GATEWAY_PORT

ROOT = Path(__file__).parents[2]
PROCESSES = (
    "portcullis.__main__", "portcullis.run", "portcullis.gateway", "portcullis.rotator", "clients.paper.__main__",
    "portcullis.cli.app", "portcullis.cli.processes", "portcullis.cli.backup_work", "portcullis.cli.storage_work",
    "portcullis.cli.audit_work", "broker.db.migrations",
)  # fmt: skip
"""What is started, or loaded only by a command that needs it."""


def stages() -> list[list[str]]:
    """Return the Dockerfile's instructions by stage; lines that go on are one."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    made: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("FROM "):
            made.append([])
        if line.strip() and not line.startswith("#"):
            made[-1].append(line)
    return made


def ignored(path: Path) -> bool:
    """Tell whether `.dockerignore` keeps a path out of what the build sees."""
    rules = (ROOT / ".dockerignore").read_text().split()
    return any(fnmatch.fnmatch(str(path), rule) or path.is_relative_to(rule) for rule in rules)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage copies, and nothing else."""
    target = tmp_path_factory.mktemp("src")
    copies = [line.split()[1:] for line in stages()[0] if line.startswith("COPY ")]
    assert copies
    for *names, where in copies:
        for name in names:
            assert (ROOT / name).exists(), f"the Dockerfile copies {name}, which is not there"
            assert not ignored(Path(name)), f".dockerignore keeps {name} out"
            into = target / where / name if where == "./" else target / where
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, into)
    return target


def test_everything_that_the_wheel_is_made_of_is_copied(source: Path) -> None:
    project = tomllib.loads((source / "pyproject.toml").read_text())
    wanted = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted += [project["project"]["readme"], *project["project"]["license-files"], "uv.lock"]
    assert [name for name in wanted if not (source / name).exists()] == []


def test_no_code_in_it_imports_what_is_not_in_it(source: Path) -> None:
    """Of this repository's own packages: the others come with the lock file."""
    own = {one.name for one in ROOT.iterdir() if one.is_dir() and any(one.glob("*.py"))}
    found = set()
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    assert {name for name in found & own if not (source / name).is_dir()} == set()


def run_in(source: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run code where this repository is not on the path, and what was copied is."""
    head = f"import sys; sys.path[:] = [{str(source)!r}, *(p for p in sys.path if p not in ('', {str(ROOT)!r}))]; "
    return subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False, cwd=source
    )


@pytest.mark.parametrize("module", PROCESSES)
def test_each_process_can_be_started_from_what_is_copied(module: str, source: Path) -> None:
    check = (
        f"import importlib; importlib.import_module({module!r}); "
        "own = [m for n, m in sys.modules.items() if n.split('.')[0] in ('broker', 'clients', 'portcullis', 'rotation')]; "
        f"assert all((getattr(m, '__file__', None) or {str(source)!r}).startswith({str(source)!r}) for m in own)"
    )
    done = run_in(source, check)
    assert done.returncode == 0, done.stderr


def test_the_program_answers(source: Path) -> None:
    done = run_in(source, "sys.argv = ['portcullis', '--help']; from portcullis.__main__ import main; main()")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_image_is_started_with_commands_that_exist() -> None:
    """Command, health check and port are the program's own."""
    last = stages()[-1]
    command = json.loads(next(line for line in last if line.startswith("CMD ")).removeprefix("CMD "))
    health = next(line for line in last if line.startswith("HEALTHCHECK "))
    check = json.loads(health[health.index("[") :])
    assert check[0] == "portcullis"
    for words in (command, check[1:]):
        helped = CliRunner().invoke(app, [words[0], "--help"])
        assert helped.exit_code == 0
        assert all(word in helped.output for word in words if word.startswith("--"))
    assert f"EXPOSE {GATEWAY_PORT}" in last
    copied = next(line.split() for line in last if line.startswith("COPY "))
    environment = next(line for line in stages()[0] if "UV_PROJECT_ENVIRONMENT" in line)
    assert f"UV_PROJECT_ENVIRONMENT={copied[2]}" in environment, "what one stage builds the other takes"


def test_the_home_in_the_image_is_an_empty_directory_of_its_user() -> None:
    """A volume begins as a copy of it, and `init` refuses a directory that holds anything: a shell's files were there."""
    made = next(line for line in stages()[-1] if "useradd" in line)
    volumes = [line.split()[1] for line in stages()[-1] if line.startswith("VOLUME ")]
    assert "--no-create-home" in made
    assert f"install -d -m 0700 -o 10001 -g 10001 {' '.join(volumes)}" in made
    (env,) = (line for line in stages()[-1] if line.startswith("ENV "))
    assert f"PORTCULLIS_HOME={volumes[0]} " in env
    assert f"XDG_STATE_HOME={volumes[1]} " in env


def walk() -> list[str]:
    """Return the commands by which the guide starts the compose file, in their order."""
    text = (
        (ROOT / "docs" / "guides" / "people.md")
        .read_text()
        .split("\n## In containers\n")[1]
        .split("\n## ")[0]
    )
    return text.split("```")[1].strip().splitlines()


def test_every_command_of_the_walk_is_one() -> None:
    """Whoever reads the guide as a stranger types them one after the other."""
    services = yaml.safe_load((ROOT / "docs" / "examples" / "compose.yaml").read_text())["services"]
    group = typer.main.get_group(app)
    tried = 0
    for line in walk():
        words = shlex.split(line.split(" < ")[0].split(" > ")[0])
        if words[:2] != ["docker", "compose"]:
            continue
        rest = [word for word in words[3:] if word not in {"--rm", "-T", "--detach"}]
        assert all(name in services for name in rest[:1]), line
        if words[2] == "up":
            continue
        typed = (
            rest[1:] if words[2] == "run" else rest[2:]
        )  # the image begins with the program; `exec` does not
        assert words[2] == "run" or rest[1] == "portcullis", line
        command, context = group, group.context_class(group, info_name="portcullis", obj=Face())
        while hasattr(command, "resolve_command"):
            name, command, typed = command.resolve_command(context, typed)
            context = command.context_class(command, parent=context, info_name=name)
        command.parse_args(context, typed)
        tried += 1
    assert tried >= 7


def test_the_walk_makes_what_the_compose_file_takes() -> None:
    """A bot is started once its key's file is there; what is asked of Portcullis before needs it alone."""
    found = yaml.safe_load((ROOT / "docs" / "examples" / "compose.yaml").read_text())
    lines = walk()
    bots = {name for name in found["services"] if name != "portcullis"}
    assert found["secrets"] == {name: {"file": f"./secrets/{name}.json"} for name in bots}
    for name in bots:
        one = found["services"][name]
        assert (one["secrets"], one["environment"]["KEY_FILE"]) == ([name], f"/run/secrets/{name}")
    grant = next(line for line in lines if " grant create " in line)
    (bot,) = (name for name in bots if f"--consumer {name} " in grant)
    assert " exec -T " in grant, "a file is not a terminal"
    assert grant.endswith(f"--policy - --json < policy.toml > secrets/{bot}.json")
    order = [
        next(at for at, line in enumerate(lines) if part in line)
        for part in (" init ", "--detach portcullis", "egress create", "account create", "key import", "consumer create",
                     "mkdir", "grant create")
    ]  # fmt: skip
    assert order == sorted(order)
    assert lines.index("docker compose up --detach") > order[-1]


def test_compose_builds_this_image_and_calls_its_gateway() -> None:
    """Its build context is the Dockerfile's directory; bots use the port and the name that the image allows."""
    path = ROOT / "docs" / "examples" / "compose.yaml"
    found = yaml.safe_load(path.read_text())
    broker = found["services"]["portcullis"]
    assert ((path.parent / broker["build"]).resolve() / "Dockerfile").is_file()
    home, state = (line.split()[1] for line in stages()[-1] if line.startswith("VOLUME "))
    assert broker["volumes"] == [f"state:{home}", f"witness:{state}"], (
        "what tells how far it came is kept apart"
    )
    assert set(found["volumes"]) == {"state", "witness"}
    command = json.loads(next(line for line in stages()[-1] if line.startswith("CMD ")).removeprefix("CMD "))
    name = command[command.index("--allowed-host") + 1]
    for bot, one in found["services"].items():
        if bot != "portcullis":
            assert one["environment"]["EXCHANGE_URL"].startswith(f"http://{name}:{GATEWAY_PORT}/")
