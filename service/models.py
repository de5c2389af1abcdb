"""The models that are served: the agent, the agent with a skill pinned, and plain models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent.folders import skill_store
from agent.servers import mcp_servers
from agent.workspace import Workspace
from agent_loop import Agent
from bodies import ApiError
from messages import Event, Finish, Message, Options, ToolSpec, Usage
from providers import default_model, resolve, resolve_all
from providers.base import Provider
from providers.http import Http
from schemas import Extension
from service.grants import EVERYTHING, Grant
from settings import Settings, SettingsError
from skill_store.files import shown

if TYPE_CHECKING:
    from service.metrics import Metrics
    from service.tracing import Tracing

AGENT = "skill-agent"
KEPT = 64
"""Plain models that are kept ready; globs allow any number of names."""


@dataclass(frozen=True, slots=True)
class Served:
    """What answers to a name. `skill` is pinned, "" for none; of the skills there are those that `grant` has.
    `conversation` is its id, where it is known.
    """

    name: str
    agent: Agent
    metrics: Metrics
    skill: str = ""
    grant: Grant = EVERYTHING
    tracing: Tracing | None = None
    conversation: str = ""

    def run(
        self,
        messages: Sequence[Message],
        extension: Extension,
        tools: Sequence[ToolSpec],
        options: Options,
        files: Workspace | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Begins a run as a request asks for it. Raises `SkillError` and `SchemaError` before it begins."""
        activate, among = extension.activate or self.skill, self.grant.skills
        self.agent.skills.choice(extension.skills, activate, among)
        how: dict[str, Any] = {"skills": extension.skills, "activate": activate, "among": among, "workspace": files}
        how |= {"client_tools": tools, "options": options}
        return self._traced(self._measured(messages, **how))

    async def sum_up(self, words: str) -> Finish:
        """What the model says to `words` alone."""
        async with aclosing(self._traced(self._measured(words, skills=()))) as events:
            async for event in events:
                if isinstance(event, Finish):
                    return event
        raise AssertionError("`Finish` is always last")

    def _traced(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        return self.tracing.run(events, self) if self.tracing else events

    async def _measured(self, messages: str | Sequence[Message], **how: Any) -> AsyncGenerator[Event, None]:
        """The events of a run, counted, and their tokens charged."""
        with self.metrics.answer():
            async with self.grant.charging() as charge:

                def spend(usage: Usage, model: str) -> None:
                    charge(usage)
                    self.metrics.spent(usage, model)

                async with aclosing(self.agent.stream(messages, spend=spend, **how)) as events:
                    async for event in events:
                        self.metrics.note(event)
                        yield event

    @property
    def has_files(self) -> bool:
        """Whether a request can leave files behind."""
        return bool({"files", "skills"} & self.agent.groups)


class Models:
    """Finds what a request's `model` names. Raises `SettingsError` where the default model cannot be."""

    def __init__(self, settings: Settings, http: Http | None = None, provider: Provider | None = None) -> None:
        self._settings = settings
        self.facts_file = settings.models
        self._http = http or Http(given=dict(settings.timeouts))
        from service.metrics import Metrics  # the library looks at the process when it is imported

        self.metrics = Metrics()
        self.metrics.repeated = lambda: self._http.repeated
        self.tracing: Tracing | None = None
        self.default = default_model(settings) if provider is None else provider.info.id
        self.skills = skill_store(settings)
        provider = provider or resolve_all(self.default, settings, self._http)
        self._globs = settings.allowed_models or settings.fallbacks
        self.mcp = mcp_servers(settings, self._http)
        more = self.mcp.tools if self.mcp else tuple
        how: dict[str, Any] = {"skills": self.skills, "groups": settings.tools, "settings": settings}
        self.agent = Agent(provider=provider, more_tools=more, **how)
        self._model = self._bare(provider)
        self._narrowed: dict[Sequence[str], Agent] = {}
        self._plain: OrderedDict[str, Agent] = OrderedDict()

    def find(self, name: str | None, grant: Grant = EVERYTHING) -> Served:
        """Raises `ApiError` 404 where nothing of the name is served. An alias stands in for what is not."""
        name = name or AGENT
        if found := self._named(name, grant) or self._named(self._unaliased(name), grant):
            return replace(found, grant=grant, tracing=self.tracing)
        raise ApiError(
            404,
            f"The model {shown(name)} does not exist here; GET /v1/models lists those that do.",
            "model_not_found",
            "model",
        )

    def _named(self, name: str, grant: Grant) -> Served | None:
        if not grant.has_model(name):
            return None
        if name == AGENT:
            return Served(name, self.agent, self.metrics)
        if name == self.default:
            return Served(name, self._default_for(grant), self.metrics)
        agent, _, skill = name.partition(":")
        if agent == AGENT and grant.has_skill(skill) and skill in self.skills.scan().skills:
            return Served(name, self.agent, self.metrics, skill)
        return Served(name, self._plain_agent(name), self.metrics) if self._allowed(name) else None

    def names(self, grant: Grant = EVERYTHING) -> list[str]:
        """Those that can be listed, each once: a glob allows names that cannot."""
        skills = [f"{AGENT}:{name}" for name in self.skills.scan().skills if grant.has_skill(name)]
        allowed = [name for name in self._globs if not set("*?[") & set(name)]
        return list(filter(grant.has_model, dict.fromkeys([AGENT, *skills, self.default, *allowed])))

    async def aclose(self) -> None:
        if self.mcp:
            await self.mcp.aclose()
        await self.agent.aclose()
        await self._http.aclose()

    def _unaliased(self, name: str) -> str:
        return next((target for glob, target in self._settings.aliases if fnmatchcase(name, glob)), name)

    def _allowed(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._globs)

    def _default_for(self, grant: Grant) -> Agent:
        """The plain default model; behind it stand only models that the caller may use as well."""
        if grant.models is None or all(map(grant.has_model, self._settings.fallbacks)):
            return self._model
        from providers.fallbacks import Fallbacks

        if not isinstance(self._model.provider, Fallbacks):
            return self._model
        theirs = tuple(filter(grant.has_model, self._settings.fallbacks))
        if theirs not in self._narrowed:
            self._narrowed[theirs] = self._bare(self._model.provider.among(grant.has_model))
        return self._narrowed[theirs]

    def _plain_agent(self, name: str) -> Agent:
        if name not in self._plain:
            try:
                provider = resolve(name, self._settings, self._http)
            except SettingsError as error:
                raise ApiError(404, str(error), "model_not_found", "model") from None
            self._plain[name] = self._bare(provider)
            if len(self._plain) > KEPT:
                self._plain.popitem(last=False)
        self._plain.move_to_end(name)
        return self._plain[name]

    def _bare(self, provider: Provider) -> Agent:
        """The model alone: no prompt, no skills, no tools of ours."""
        return Agent(provider=provider, system_prompt="", groups=(), settings=self._settings)
