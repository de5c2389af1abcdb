"""The command line.

python cli.py                      chat, with the agent in this process
python cli.py -p "question"        one answer; piped text goes along as context
  [--model M] [--skill S] [--system FILE] [-a FILE]… [-c | --session NAME]
  [--json | --json-stream]
python cli.py --url URL [--api-key KEY | --databricks-profile NAME]
                                   the same with a server; also batch and models
python cli.py skills list [--json] | show NAME | validate [PATH…] | new NAME
python cli.py skills lock | prepare | test [NAME…] [--model M]
python cli.py batch IN.jsonl OUT.jsonl [--model M] [--at-once N]
python cli.py models | doctor | serve [--port P] | completion bash|zsh
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from providers.base import ProviderError
from settings import Settings, SettingsError
from skill_store import SkillError
from terminal import FAILED, INTERRUPTED, OK
from terminal.agents import Wanted
from terminal.attachments import AttachmentError
from terminal.notes import complain
from terminal.sessions import SessionError
from terminal.skills import skill_options

COMMANDS = ("chat", "serve", "skills", "models", "doctor", "batch", "completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the result is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if words[:1] == ["serve"]:
        return _serve(words[1:])
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help")):
        words.insert(0, "chat")
    options = parser().parse_args(words)
    try:
        command: Callable[[argparse.Namespace], int] = options.run
        return command(options)
    except (SettingsError, SkillError, ProviderError, SessionError, AttachmentError) as error:
        return complain(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`: Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _serve(words: Sequence[str]) -> int:
    """uvicorn ends well after Ctrl-C, and tells nobody."""
    interrupted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    with suppress(KeyboardInterrupt):
        import server

        server.main(words)
    return INTERRUPTED if interrupted else OK


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cli.py",
        description=__doc__,
        epilog="Options of the chat: python cli.py chat --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands (chat is the default)", metavar="COMMAND", required=True)
    _chat_options(commands.add_parser("chat", help="chat, or answer one question"))
    commands.add_parser("serve", help="serve over HTTP, as python server.py does")
    skill_options(commands.add_parser("skills", help="list, show, validate, test, lock or begin skills"))
    models = commands.add_parser("models", help="the models that can be asked for")
    _server_options(models)
    models.set_defaults(run=_models)
    _batch_options(commands.add_parser("batch", help="an answer for each line of a file"))
    doctor = commands.add_parser("doctor", help="check credentials, model, skills and what the server needs")
    _server_options(doctor)
    doctor.set_defaults(run=_doctor)
    completion = commands.add_parser("completion", help="complete these words in bash or zsh")
    completion.add_argument("shell", choices=("bash", "zsh"))
    completion.set_defaults(run=_completion)
    return parser


def _chat_options(chat: argparse.ArgumentParser) -> None:
    chat.add_argument("-p", "--prompt", metavar="TEXT", help="answer this and leave; piped text is added as context")
    chat.add_argument("-a", "--attach", metavar="FILE", action="append", default=[], help="a picture, PDF or text")
    chat.add_argument("--model", metavar="M", default="", help="provider/model, or a name that the server knows")
    chat.add_argument("--skill", metavar="S", default="", help="load this skill before the first turn")
    chat.add_argument("--system", metavar="FILE", type=Path, help="a system prompt instead of system_prompt.md")
    which = chat.add_mutually_exclusive_group()
    which.add_argument("-c", "--continue", dest="go_on", action="store_true", help="go on with the last conversation")
    which.add_argument("--session", metavar="NAME", default="", help="go on with this conversation, or begin it")
    form = chat.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    form.add_argument("--json-stream", action="store_true", help="print what happens as it does, a JSON object a line")
    _server_options(chat)
    chat.set_defaults(run=_chat)


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", default="", help="a skill-agent server, instead of an agent in this process"
    )
    parser.add_argument("--api-key", metavar="KEY", default="", help="the server's key (better: SKILL_AGENT_API_KEY)")
    parser.add_argument("--databricks-profile", metavar="NAME", default="", help="log in to the server as this profile")


def _batch_options(batch: argparse.ArgumentParser) -> None:
    batch.add_argument(
        "input", metavar="IN.jsonl", type=Path, help='a line each: {"prompt": …}, or as OpenAI\'s Batch API'
    )
    batch.add_argument("output", metavar="OUT.jsonl", type=Path, help="the answers; what is there is not asked again")
    batch.add_argument("--model", metavar="M", default="", help="provider/model, or a name that the server knows")
    batch.add_argument("--at-once", metavar="N", type=int, default=4, help="answers that are made side by side (4)")
    _server_options(batch)
    batch.set_defaults(run=_batch)


def wanted(options: argparse.Namespace) -> Wanted:
    """What these options say about the agent."""
    given = vars(options)
    return Wanted(
        given.get("model", ""),
        given.get("skill", ""),
        given.get("system"),
        options.url,
        options.api_key,
        options.databricks_profile,
    )


def _chat(options: argparse.Namespace) -> int:
    from terminal.entrance import chat

    return chat(options, wanted(options))


def _models(options: argparse.Namespace) -> int:
    from checks import list_models

    return list_models(wanted(options), Settings.from_env())


def _batch(options: argparse.Namespace) -> int:
    from terminal.batch import run_batch

    return run_batch(options.input, options.output, wanted(options), options.at_once)


def _doctor(options: argparse.Namespace) -> int:
    from checks import doctor

    return doctor(wanted(options))


def _completion(options: argparse.Namespace) -> int:
    from terminal.shells import script

    print(script(options.shell, parser()), end="")
    return OK


if __name__ == "__main__":
    sys.exit(main())
