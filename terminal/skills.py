"""What the command line does with skills: list, show, check, prepare, test and begin them."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.folders import skill_store
from defaults import data_folder
from settings import Settings
from skill_store import SkillError, SkillStore, as_row, create, validate
from terminal import FAILED, OK
from terminal.notes import note


def skill_options(skills: argparse.ArgumentParser) -> None:
    actions = skills.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the skills and what is wrong with them")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list_skills)
    showing = actions.add_parser("show", help="print a skill")
    showing.add_argument("name")
    showing.set_defaults(run=_show_skill)
    checking = actions.add_parser("validate", help="check skills strictly, as their author")
    checking.add_argument("path", nargs="*", type=Path, help="skill folders, or folders of them (default: all skills)")
    checking.set_defaults(run=_validate_skills)
    preparing = actions.add_parser("prepare", help="install the Python packages that skills' scripts need")
    preparing.add_argument("name", nargs="*", help="the skills (default: all)")
    preparing.set_defaults(run=_prepare_skills)
    testing = actions.add_parser("test", help="run the evals that skills bring along")
    testing.add_argument("name", nargs="*", help="the skills to test (default: all)")
    testing.add_argument("--model", metavar="M", default="", help="provider/model, or scripted: the cases' own scripts")
    testing.add_argument("--judge", metavar="M", default="", help="the model that judges (default: the one tested)")
    testing.add_argument("--json", action="store_true", help="print the results as one JSON object")
    testing.set_defaults(run=_test_skills)
    locking = actions.add_parser("lock", help="write down the checksums of all skills, so that no other is used")
    locking.set_defaults(run=_lock_skills)
    making = actions.add_parser("new", help="begin a skill")
    making.add_argument("name")
    making.set_defaults(run=_new_skill)


def _store() -> SkillStore:
    return skill_store(Settings.from_env())


def _list_skills(options: argparse.Namespace) -> int:
    catalog = _store().scan(thorough=True)
    if options.json:
        print(json.dumps(list(map(as_row, catalog.skills.values())), ensure_ascii=False, indent=2))
    else:
        for skill in catalog.skills.values():
            level = "" if skill.trusted else "  (untrusted: its scripts are not run)"
            print(f"{skill.name}{level}\n    {' '.join(skill.description.split())}")
        if not catalog.skills:
            note("there are no skills; begin one with: python cli.py skills new NAME")
    for problem in catalog.problems:
        note(str(problem))
    return OK


def _show_skill(options: argparse.Namespace) -> int:
    skills = _store().scan().skills
    if options.name not in skills:
        raise SkillError(f"there is no skill {options.name!r}; there are: {', '.join(skills) or 'none'}")
    skill = skills[options.name]
    print(skill.read("SKILL.md").decode("utf-8", "replace"))
    for path in skill.files():
        note(f"· {path}")
    return OK


def _validate_skills(options: argparse.Namespace) -> int:
    """Every problem as `file:line: level: message`; errors make the exit code 1."""
    paths = options.path or map(Path, Settings.from_env().skills)
    folders = [folder for path in paths for folder in _skill_folders(path)]
    problems = [problem for folder in folders for problem in validate(folder)]
    for problem in problems:
        print(problem)
    errors = sum(problem.level == "error" for problem in problems)
    note(f"{len(folders)} skills, {errors} errors, {len(problems) - errors} warnings")
    return FAILED if errors or not folders else OK


def _skill_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise SkillError(f"{path} is not a folder")
    if (path / "SKILL.md").exists():
        return [path]
    return sorted(file.parent for file in path.glob("*/SKILL.md")) or sorted(f.parent for f in path.glob("**/SKILL.md"))


def _prepare_skills(options: argparse.Namespace) -> int:
    """Beforehand, as nothing is installed while somebody waits for an answer."""
    from agent.environments import Environments, wanted

    skills = _store().scan().skills
    for name in options.name:
        if name not in skills:
            raise SkillError(f"there is no skill {name!r}; there are: {', '.join(skills) or 'none'}")
    environments = Environments(data_folder() / "environments")
    found = list(wanted([skill for name, skill in skills.items() if not options.name or name in options.name]))
    for skill, script, packages in found:
        note(f"{skill.name}: {script} needs {', '.join(packages)} …")
        print(environments.prepare(packages))
    if not found:
        note("no script needs a package")
    return OK


def _test_skills(options: argparse.Namespace) -> int:
    """Exit code 0 when every case passes, 1 when one fails, 2 when there is nothing to test or a file is wrong."""
    # Another model's answers would say nothing about the one that is tested.
    return asyncio.run(_run_evals(options, replace(Settings.from_env(), fallbacks=())))


async def _run_evals(options: argparse.Namespace, settings: Settings) -> int:
    from agent_loop import Agent
    from providers.scripted import Line, ScriptedProvider
    from skill_evals import SCRIPTED, run_evals

    store = skill_store(settings)
    judge = Agent(options.judge, system_prompt="", settings=settings) if options.judge else None
    how: dict[str, Any] = {"skills": store, "groups": settings.tools, "settings": settings}
    agent = None if options.model == SCRIPTED else Agent(options.model or None, **how)
    model = agent.provider.info.id if agent else SCRIPTED

    def agent_of(script: Sequence[Line]) -> Agent:
        return agent or Agent(provider=ScriptedProvider(script), **how)

    try:
        skills = store.scan().skills
        return await run_evals(skills, agent_of, options.name, model=model, judge=judge, as_json=options.json)
    finally:
        for each in filter(None, (agent, judge)):
            await each.aclose()


def _lock_skills(_: argparse.Namespace) -> int:
    for path, count in _store().write_locks().items():
        print(f"{path}  {count} skills")
    return OK


def _new_skill(options: argparse.Namespace) -> int:
    folder = create(Path(Settings.from_env().skills[0]), options.name)
    print(folder / "SKILL.md")
    note("Edit it, then check it with: python cli.py skills validate " + str(folder))
    return OK
