"""Completion of the command line in a shell, made from its parser: verbs, options, skills' names and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

BASH = """\
# Completion for skill-agent. Load it with: source <(python cli.py completion bash)
_skill_agent() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local line=" ${{COMP_WORDS[*]:1:COMP_CWORD-1}} "
    # `python cli.py …` comes here for every script of Python's: others are completed as files.
    if [[ "${{COMP_WORDS[0]}}" == *python* && "${{COMP_WORDS[1]}}" != *cli.py ]]; then
        COMPREPLY=($(compgen -f -- "$word")); return
    fi
    local cli="${{COMP_WORDS[*]:0:2}}"
    [[ "${{COMP_WORDS[0]}}" == *cli.py ]] && cli="${{COMP_WORDS[0]}}"
    case "$before" in
        {files}) COMPREPLY=($(compgen -f -- "$word")); return ;;
        {skills}) COMPREPLY=($(compgen -W "$($cli skills list 2>/dev/null | grep '^[^ ]')" -- "$word")); return ;;
    esac
    case "$line" in
{cases}
        *) COMPREPLY=($(compgen -W "{verbs} {options}" -- "$word")) ;;
    esac
}}
complete -o filenames -F _skill_agent cli.py ./cli.py python python3 .venv/bin/python
"""
ZSH = """\
# Completion for skill-agent. Load it with: source <(python cli.py completion zsh)
autoload -U +X bashcompinit && bashcompinit
"""
FILES = {"FILE", "IN.jsonl", "OUT.jsonl", "PATH"}


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """For `bash`, or `zsh` by way of its emulation of it."""
    verbs = _verbs(parser)
    cases = [
        f'        *" {path} "*) COMPREPLY=($(compgen {"-f " if takes_files else ""}-W "{words}" -- "$word")) ;;'
        for path, words, takes_files in sorted(_cases(verbs), key=lambda case: -case[0].count(" "))
    ]
    chat = verbs["chat"]
    text = BASH.format(
        files="|".join(_options(chat, files=True)),
        skills="--skill|show|test|prepare",
        cases="\n".join(cases),
        verbs=" ".join(verbs),
        options=" ".join(_options(chat)),
    )
    return (ZSH if shell == "zsh" else "") + text


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _cases(verbs: dict[str, argparse.ArgumentParser], before: str = "") -> Iterator[tuple[str, str, bool]]:
    """Verbs of one and two words, what may follow each, and whether files do."""
    for verb, parser in verbs.items():
        path = f"{before}{verb}"
        below = _verbs(parser)
        yield path, " ".join([*below, *_choices(parser), *_options(parser)]), bool(_files(parser))
        yield from _cases(below, f"{path} ")


def _options(parser: argparse.ArgumentParser, files: bool = False) -> list[str]:
    return [
        name
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction) and (not files or action.metavar == "FILE")
        for name in action.option_strings
    ]


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    plain = (a for a in parser._actions if not a.option_strings and not isinstance(a, argparse._SubParsersAction))
    return [str(choice) for action in plain for choice in action.choices or ()]


def _files(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [a for a in parser._actions if not a.option_strings and (a.metavar in FILES or a.dest == "path")]
