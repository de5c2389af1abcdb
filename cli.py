"""The command line.

python cli.py                              chat, with the agent in this process
python cli.py -p "question"                one answer; piped text is added as context
python cli.py --url URL [--api-key KEY]    chat with a server
python cli.py skills list | skills show NAME | skills validate [PATH…] | skills new NAME
python cli.py skills lock | skills test [NAME…] [--model M]
python cli.py models | doctor | serve [--port P]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent.approval import TOOL as APPROVE
from agent.approval import asked_about
from agent.library import skill_store
from agent.servers import mcp_servers
from defaults import data_folder
from messages import Finish, Message, Text, ToolResult, user
from providers.base import ProviderError
from settings import Settings, SettingsError
from skill_store import SkillError, SkillStore, as_row, create, validate
from terminal import FAILED, INTERRUPTED, OK, allow, as_json, complain, introduce, note, show

if TYPE_CHECKING:
    from agent_loop import Agent
    from mcp_servers import McpServers
    from providers.http import Auth, Http
    from providers.remote import RemoteAgent

COMMANDS = ("chat", "serve", "skills", "models", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the result is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["serve"]:
        import server

        server.main(words[1:])
        return OK
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help")):
        words.insert(0, "chat")
    options = _parser().parse_args(words)
    try:
        command: Callable[[argparse.Namespace], int] = options.run
        return command(options)
    except (SettingsError, SkillError, ProviderError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`: Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cli.py",
        description=__doc__,
        epilog="Options of the chat: python cli.py chat --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands (chat is the default)", metavar="COMMAND", required=True)
    _chat_options(commands.add_parser("chat", help="chat, or answer one question"))
    commands.add_parser("serve", help="serve over HTTP, as python server.py does")
    _skill_options(commands.add_parser("skills", help="list, show, validate, test or begin skills"))
    models = commands.add_parser("models", help="the models that can be asked for")
    _server_options(models)
    models.set_defaults(run=_models)
    commands.add_parser("doctor", help="check credentials, model and skills").set_defaults(run=_doctor)
    return parser


def _chat_options(chat: argparse.ArgumentParser) -> None:
    chat.add_argument("-p", "--prompt", metavar="TEXT", help="answer this and leave; piped text is added as context")
    chat.add_argument("--model", metavar="M", default="", help="provider/model, or a name that the server knows")
    chat.add_argument("--skill", metavar="S", default="", help="load this skill before the first turn")
    chat.add_argument("--system", metavar="FILE", type=Path, help="a system prompt instead of system_prompt.md")
    chat.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    _server_options(chat)
    chat.set_defaults(run=_chat)


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", default="", help="a skill-agent server, instead of an agent in this process"
    )
    parser.add_argument("--api-key", metavar="KEY", default="", help="the server's key (better: SKILL_AGENT_API_KEY)")
    parser.add_argument("--databricks-profile", metavar="NAME", default="", help="log in to the server as this profile")


def _skill_options(skills: argparse.ArgumentParser) -> None:
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


def _chat(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("skill_agent").setLevel(logging.INFO)
    piped = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    servers = None if options.url else mcp_servers(Settings.from_env())
    agent = _agent(options, servers)
    introduce(agent.provider.info)
    question = "\n\n".join(part for part in (options.prompt, piped) if part)
    if question:
        return asyncio.run(_answer_once(agent, question, options, servers))
    if not sys.stdin.isatty():
        note("there is no question: give one with -p, or pipe it in")
        return FAILED
    return _converse(agent, options, servers)


def _agent(options: argparse.Namespace, servers: McpServers | None) -> Agent:
    from agent_loop import Agent

    settings = Settings.from_env()
    if options.url:
        provider = _remote(options, settings)
        return Agent(provider=provider, system_prompt=options.system or "", groups=(), settings=settings)
    skills = skill_store(settings)
    how: dict[str, Any] = {"groups": settings.tools, "system_prompt": options.system, "settings": settings}
    return Agent(options.model or None, skills=skills, more_tools=servers.tools if servers else tuple, **how)


def _remote(options: argparse.Namespace, settings: Settings) -> RemoteAgent:
    from providers.http import Http
    from providers.remote import RemoteAgent

    http = Http()
    return RemoteAgent(http, options.url, _server_auth(options, settings, http), options.model, options.skill)


def _server_auth(options: argparse.Namespace, settings: Settings, http: Http) -> Auth:
    """The key given, else the profile's login; a server on this machine may need neither."""
    from providers.databricks_auth import profile_credentials
    from providers.http import bearer
    from providers.remote import refuse_in_the_clear

    key = options.api_key or os.environ.get("SKILL_AGENT_API_KEY", "")
    if key or options.databricks_profile:
        refuse_in_the_clear(options.url)
    if key:
        return bearer(key)
    if not options.databricks_profile:
        return bearer("none")
    _, auth = profile_credentials(replace(settings, databricks_profile=options.databricks_profile), http, app=True)
    return auth


async def _answer_once(
    agent: Agent, question: str, options: argparse.Namespace, servers: McpServers | None = None
) -> int:
    """Ctrl-C cancels the run, and with it the model call."""
    out = open(os.devnull, "w") if options.json else sys.stdout  # noqa: SIM115, ASYNC230 - closed with the process
    try:
        await _start(servers)
        finish = await _answered(agent, [user(question)], options, out)
    except asyncio.CancelledError:
        if agent.provider.info.id.startswith("local/"):
            # llama.cpp reads a prompt to its end before it can be unloaded, which may take a minute.
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        raise
    finally:
        await _close(agent, servers)
    if options.json:
        print(as_json(finish))
    return OK


async def _answered(agent: Agent, asked: list[Message], options: argparse.Namespace, out: TextIO) -> Finish:
    """The whole answer. A server's questions about its tools are put to the person here, and it goes on."""
    pinned = "" if options.url else str(options.skill)  # a server is told of the skill in the request
    said: list[Message] = []
    while True:
        how: dict[str, Any] = {"activate": pinned, "approve": lambda call: allow(call.name, call.arguments)}
        finish = await show(agent.stream([*asked, *said], **how), out)
        said += finish.messages
        questions = [call for call in finish.calls if call.name == APPROVE]
        if not questions:
            return replace(finish, messages=tuple(said))
        words = [(call.id, await allow(*asked_about(call))) for call in questions]
        said.append(Message("tool", tuple(ToolResult(id, (Text("yes" if yes else "no"),)) for id, yes in words)))


async def _start(servers: McpServers | None) -> None:
    if servers:
        note("· the MCP servers are being started …")
        await servers.start()


async def _close(agent: Agent, servers: McpServers | None) -> None:
    if servers:
        await servers.aclose()
    await agent.aclose()


def _converse(agent: Agent, options: argparse.Namespace, servers: McpServers | None) -> int:
    """Question and answer until the end of input. Ctrl-C stops an answer; what was asked is then forgotten."""
    note("Ask away. Ctrl-C stops an answer, Ctrl-D leaves.")
    messages: list[Message] = []
    with asyncio.Runner() as runner:
        runner.run(_start(servers))
        while (line := _ask()) is not None:
            if not line:
                continue
            asked = [*messages, user(line)]
            try:
                finish = runner.run(_answered(agent, asked, options, sys.stdout))
                messages = [*asked, *finish.messages]
            except KeyboardInterrupt:
                note("\n· stopped")
            except ProviderError as error:
                complain(error)
        runner.run(_close(agent, servers))
    return OK


def _ask() -> str | None:
    """The next line, None at the end of input."""
    try:
        return input("> ").strip()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return ""
    except EOFError:
        print(file=sys.stderr)
        return None


def _store() -> SkillStore:
    return skill_store(Settings.from_env())


def _list_skills(options: argparse.Namespace) -> int:
    catalog = _store().scan()
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
    return asyncio.run(_run_evals(options, Settings.from_env()))


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


def _models(options: argparse.Namespace) -> int:
    settings = Settings.from_env()
    if options.url:
        from checks import server_models

        return asyncio.run(server_models(options.url, lambda http: _server_auth(options, settings, http)))
    from providers import default_model

    chosen = default_model(settings)
    print(f"{chosen}  (the default)")
    for name in settings.allowed_models:
        print(name)
    return OK


def _doctor(_: argparse.Namespace) -> int:
    from checks import doctor

    return asyncio.run(doctor(Settings.from_env()))


if __name__ == "__main__":
    sys.exit(main())
