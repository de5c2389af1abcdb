"""Scripts of skills as the agent runs them: which, with what, and what becomes of what they make."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.environments import Environments, needed, wanted
from agent.script_tools import Workshop
from agent.workspace import Workspace
from agent_loop import Agent
from messages import ToolResult
from providers.scripted import ScriptedProvider, call
from sandbox import Sandbox
from settings import Settings
from skill_store import SkillError, SkillStore
from tests.agents import results_of, write_skill

HELLO = "import sys\nprint('hello', *sys.argv[1:], sys.stdin.read())\n"


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    folder = write_skill(tmp_path / "skills", "tea", "Brew tea.")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "hello.py").write_text(HELLO)
    return folder


def workshop(tmp_path: Path, execute: bool = False) -> Workshop:
    return Workshop(Sandbox("best"), Environments(tmp_path / "environments"), execute)


async def ran(tmp_path: Path, *calls: dict[str, Any], active: bool = True, **how: Any) -> list[ToolResult]:
    """The results of calls of run_skill_script, one a turn."""
    begun = [[call("activate_skill", name="tea")]] if active else []
    turns = [[call("run_skill_script", **{"skill": "tea", **each})] for each in calls]
    agent = Agent(
        provider=ScriptedProvider([*begun, *turns, "Done."]),
        skills=tmp_path / "skills",
        settings=Settings(),
        workshop=workshop(tmp_path),
    )
    finish = await agent.run("go", workspace=Workspace(tmp_path / "files"), **how)
    return results_of(finish)[len(begun) :]


async def test_a_script_gets_its_arguments_and_its_input(tmp_path: Path, skill: Path) -> None:
    (result,) = await ran(tmp_path, {"script": "scripts/hello.py", "args": ["you", "$HOME"], "stdin": "there"})
    assert not result.is_error and "hello you $HOME there" in result.text and "exit code 0" in result.text


async def test_only_scripts_of_an_active_skill_are_run(tmp_path: Path, skill: Path) -> None:
    (skill / "notes.md").write_text("x")
    (result,) = await ran(tmp_path, {"script": "scripts/hello.py"}, active=False)
    assert result.is_error and "activate tea first" in result.text
    odd = ["scripts/nothing.py", "../../etc/passwd", "/bin/ls", "notes.md", "scripts", "SKILL.md", "scripts/../x.py"]
    results = await ran(tmp_path, *[{"script": path} for path in odd], {"skill": "coffee", "script": "a.py"})
    assert all(result.is_error for result in results) and len(results) == 8


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sh", "echo made of sh"),
        ("a", "#!/usr/bin/env python3\nprint('made of', 'sh')"),
        ("a.py", "#!/bin/sh\necho made of sh"),
        ("a.txt", "#!/bin/bash\necho made of sh"),
        ("deep/er/a.py", "import b\nb.say()"),
    ],
)
async def test_the_first_line_and_the_ending_say_what_runs_it(
    tmp_path: Path, skill: Path, name: str, text: str
) -> None:
    (skill / name).parent.mkdir(parents=True, exist_ok=True)
    (skill / name).write_text(text)
    ((skill / name).parent / "b.py").write_text("def say():\n    print('made of sh')")
    (result,) = await ran(tmp_path, {"script": name})
    assert "made of sh" in result.text and not result.is_error


@pytest.mark.parametrize("line", ["#!/usr/bin/vim", "#!/usr/bin/env -S sudo sh", "#! ", ""])
async def test_an_interpreter_that_is_not_known_runs_nothing(tmp_path: Path, skill: Path, line: str) -> None:
    (skill / "a").write_text(f"{line}\necho hi")
    (result,) = await ran(tmp_path, {"script": "a"})
    assert result.is_error and "no interpreter that is known" in result.text


async def test_files_go_in_and_what_is_made_comes_out(tmp_path: Path, skill: Path) -> None:
    script = "import os\nopen('out/b.txt', 'w').write(open('in/a.txt').read().upper()) if not os.makedirs('out') else 0"
    (skill / "scripts" / "up.py").write_text(script)
    files = Workspace(tmp_path / "files")
    files.write("in/a.txt", b"tea")
    files.write("secret.txt", b"not asked for")
    (result,) = await ran(tmp_path, {"script": "scripts/up.py", "files": ["in/a.txt"]})
    assert "made: out/b.txt (3 bytes)" in result.text and files.read("out/b.txt") == b"TEA"
    (skill / "scripts" / "ls.py").write_text("import os\nprint(sorted(os.listdir('.')))")
    (result,) = await ran(tmp_path, {"script": "scripts/ls.py", "files": ["out/b.txt"]})
    assert "['out']" in result.text
    (result,) = await ran(tmp_path, {"script": "scripts/ls.py", "files": ["no.txt"]})
    assert result.is_error


async def test_links_and_pipes_that_a_script_leaves_are_not_followed(tmp_path: Path, skill: Path) -> None:
    (tmp_path / "private.txt").write_text("private")
    script = (
        f"import os\nos.symlink('{tmp_path}/private.txt', 'link.txt')\nos.mkfifo('pipe')\nopen('a.txt','w').write('x')"
    )
    (skill / "scripts" / "link.py").write_text(script)
    (result,) = await ran(tmp_path, {"script": "scripts/link.py"})
    assert "a.txt (1 bytes)" in result.text
    assert [entry.path for entry in Workspace(tmp_path / "files").walk()] == ["a.txt"]


async def test_a_failing_script_is_an_error_with_its_words(tmp_path: Path, skill: Path) -> None:
    (skill / "scripts" / "bad.py").write_text("import sys\nprint('half')\nsys.exit('no tea')")
    (result,) = await ran(tmp_path, {"script": "scripts/bad.py"})
    assert result.is_error and "exit code 1" in result.text and "no tea" in result.text and "half" in result.text


async def test_long_output_is_in_a_file(tmp_path: Path, skill: Path) -> None:
    (skill / "scripts" / "long.py").write_text("print('begin')\nfor n in range(20000): print('line', n)\nprint('end')")
    (result,) = await ran(tmp_path, {"script": "scripts/long.py"})
    assert "begin" in result.text and "end" in result.text and len(result.text) < 80_000
    path = result.text.partition("The whole stdout: ")[2].split("\n")[0].split()[0]
    assert Workspace(tmp_path / "files").read(path).startswith(b"begin\nline 0\n")


async def test_a_script_knows_nothing_of_our_environment(
    tmp_path: Path, skill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    (skill / "scripts" / "env.py").write_text("import os\nprint(dict(os.environ))")
    (result,) = await ran(tmp_path, {"script": "scripts/env.py"})
    assert "canary" not in result.text and "PATH" in result.text


async def test_the_tool_is_there_only_where_there_is_something_to_run(tmp_path: Path) -> None:
    write_skill(tmp_path / "skills", "tea", "Brew tea.")
    assert "run_skill_script" not in await offered(tmp_path)
    (tmp_path / "skills" / "tea" / "a.sh").touch()
    assert "run_skill_script" in await offered(tmp_path)


async def offered(tmp_path: Path, **how: Any) -> Sequence[str]:
    model = ScriptedProvider(["Done."])
    how = {"skills": tmp_path / "skills", "workshop": workshop(tmp_path), **how}
    await Agent(provider=model, settings=Settings(), **how).run("go")
    return [tool.name for tool in model.requests[0].tools]


async def test_a_models_own_commands_are_run_only_where_that_is_allowed(tmp_path: Path, skill: Path) -> None:
    assert "execute" not in await offered(tmp_path, groups=("skills", "files"))
    assert "execute" not in await offered(tmp_path, workshop=workshop(tmp_path, execute=True))
    model = ScriptedProvider([[call("execute", command="echo $((6 * 7)) > a.txt; cat a.txt")], "Done."])
    agent = Agent(
        provider=model,
        skills=tmp_path / "skills",
        groups=("skills", "files"),
        settings=Settings(),
        workshop=workshop(tmp_path, execute=True),
    )
    finish = await agent.run("go", workspace=Workspace(tmp_path / "files"))
    assert "42" in results_of(finish)[0].text and [file.path for file in finish.files] == ["a.txt"]


# Packages

HEAD = """# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "six==1.16.0",
# ]
# ///
import six
print("six", six.__version__)
"""


def test_packages_are_told_by_the_script_else_by_its_skill(tmp_path: Path, skill: Path) -> None:
    (skill / "scripts" / "uses.py").write_text(HEAD)
    (skill / "requirements.txt").write_text("# ours\nrich>=13  # colours\n\nsix\n")
    found = SkillStore(tmp_path / "skills").scan().skills["tea"]
    assert needed(found, "scripts/uses.py") == ("six==1.16.0",)
    assert needed(found, "scripts/hello.py") == ("rich>=13", "six")
    (skill / "a.sh").touch()
    assert needed(found, "a.sh") == ()


async def test_a_script_whose_packages_are_not_there_says_what_to_do(tmp_path: Path, skill: Path) -> None:
    (skill / "scripts" / "uses.py").write_text(HEAD)
    (result,) = await ran(tmp_path, {"script": "scripts/uses.py"})
    assert result.is_error and "six==1.16.0" in result.text and "skills prepare" in result.text
    assert not (tmp_path / "environments").exists()


def wheel(folder: Path) -> str:
    """A package that needs no index: the module `kettle`."""
    path = folder / "kettle-1.0-py3-none-any.whl"
    info = "kettle-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kettle.py", "def boil():\n    print('it boils')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kettle\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return f"kettle @ {path.as_uri()}"


async def test_a_script_runs_with_the_packages_that_were_prepared(tmp_path: Path, skill: Path) -> None:
    package = wheel(tmp_path)
    head = f'# /// script\n# dependencies = ["{package}"]\n# ///\n'
    (skill / "scripts" / "boil.py").write_text(f"{head}import kettle\nkettle.boil()\n")
    environments = Environments(tmp_path / "environments")
    ((_, script, packages),) = wanted([SkillStore(tmp_path / "skills").scan().skills["tea"]])
    assert (script, packages) == ("scripts/boil.py", (package,))
    assert environments.prepare(packages) == environments.prepare(packages)
    (result,) = await ran(tmp_path, {"script": "scripts/boil.py"})
    assert "it boils" in result.text and not result.is_error


def test_packages_that_cannot_be_had_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="cannot be installed"):
        Environments(tmp_path).prepare((f"kettle @ file://{tmp_path}/nothing-1.0-py3-none-any.whl",))
