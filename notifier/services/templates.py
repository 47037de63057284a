"""TemplateService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.notify.v1 import template_service_pb2 as pb
from aerofusion.notify.v1 import template_service_pb2_grpc as stubs
from meshkit.authz import current_caller
from meshkit.paging import next_token, page_size, read_token
from notifier import names
from notifier.channels import CHANNELS
from notifier.model import Content, Template
from notifier.render import FIELDS
from notifier.services.recipients import LOCALE
from notifier.services.wire import Problems, timestamp
from notifier.settings import LIMITS


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from notifier.render import Renderer
    from notifier.store.templates import TemplateStore

    Context = Any


class TemplateService(stubs.TemplateServiceServicer):
    def __init__(
        self, store: TemplateStore, renderer: Renderer, *, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._renderer = renderer
        self._clock = clock

    async def CreateTemplate(
        self, request: pb.CreateTemplateRequest, context: Context
    ) -> pb.CreateTemplateResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        problems = Problems()
        if not names.ID.fullmatch(request.template_id):
            problems.add("template_id", "1 to 128 of A-Z a-z 0-9 . _ ~ -, a letter or digit first")
        wanted = self._from_proto(request.template_id, request.template, problems)
        problems.raise_if_any("INVALID_TEMPLATE", "The template")
        made = await self._store.create(
            tenant, wanted, now=self._clock(), repeat=bool(request.request_id)
        )
        return pb.CreateTemplateResponse(template=to_proto(tenant, made))

    async def GetTemplate(
        self, request: pb.GetTemplateRequest, context: Context
    ) -> pb.GetTemplateResponse:
        tenant, template = names.read("name", request.name, "templates")
        current_caller().check_tenant(tenant)
        found = await self._store.get(tenant, template, version=request.version)
        return pb.GetTemplateResponse(template=to_proto(tenant, found))

    async def ListTemplates(
        self, request: pb.ListTemplatesRequest, context: Context
    ) -> pb.ListTemplatesResponse:
        (tenant,) = names.read("parent", request.parent)
        current_caller().check_tenant(tenant)
        # A template may hold hundreds of contents; a page must fit into a message.
        limit = page_size(request.page_size, at_most=500)
        after = read_token(request.page_token, request.parent)
        found = await self._store.page(tenant, after=after, limit=limit + 1)
        fitting: list[pb.Template] = []
        size = 0
        for one in found[:limit]:
            made = to_proto(tenant, one)
            size += made.ByteSize()
            if fitting and size > PAGE_BYTES_MAX:
                break
            fitting.append(made)
        more = len(found) > len(fitting)
        return pb.ListTemplatesResponse(
            templates=fitting,
            next_page_token=(
                next_token(found[len(fitting) - 1].id, request.parent) if more else ""
            ),
        )

    async def UpdateTemplate(
        self, request: pb.UpdateTemplateRequest, context: Context
    ) -> pb.UpdateTemplateResponse:
        tenant, template = names.read("template.name", request.template.name, "templates")
        current_caller().check_tenant(tenant)
        problems = Problems()
        wanted = self._from_proto(template, request.template, problems)
        problems.raise_if_any("INVALID_TEMPLATE", "The template")
        stored = await self._store.update(
            tenant, wanted, now=self._clock(), missing_ok=request.allow_missing
        )
        return pb.UpdateTemplateResponse(template=to_proto(tenant, stored))

    def _from_proto(self, template: str, given: pb.Template, problems: Problems) -> Template:
        at_most = LIMITS.display_name_chars_max
        problems.text("template.display_name", given.display_name, at_most=at_most)
        default = given.default_locale or "en"
        if not LOCALE.fullmatch(default):
            problems.add("template.default_locale", "must be a BCP 47 tag, such as pt-BR")
        if not 1 <= len(given.contents) <= LIMITS.contents_max:
            problems.add("template.contents", f"1 to {LIMITS.contents_max}")
        contents = [
            self._content(f"template.contents[{number}].", one, default, problems)
            for number, one in enumerate(given.contents[: LIMITS.contents_max])
        ]
        have = [(c.channel, c.locale.lower()) for c in contents]
        if len(set(have)) < len(have):
            problems.add("template.contents", "at most one for each channel and locale")
        for channel in sorted({c.channel for c in contents}):
            if (channel, default.lower()) not in have:
                problems.add("template.contents", f"{channel}: nothing in {default}")
        return Template(
            id=template,
            default_locale=default,
            contents=tuple(contents),
            display_name=given.display_name,
            etag=given.etag,
        )

    def _content(
        self, path: str, given: pb.TemplateContent, default: str, problems: Problems
    ) -> Content:
        content = Content(
            channel=given.channel,
            locale=given.locale or default,
            subject=given.subject,
            text=given.text,
            html=given.html,
            action_url=given.action_url,
        )
        kind = CHANNELS.get(given.channel)
        if kind is None:
            known = ", ".join(sorted(CHANNELS))
            problems.add(path + "channel", f"{given.channel[:32]!r} is none of {known}")
        elif kind.needs_subject and not given.subject:
            problems.add(path + "subject", f"must be given for {given.channel}")
        if not given.text:
            problems.add(path + "text", "must be given")
        if not LOCALE.fullmatch(content.locale):
            problems.add(path + "locale", "must be a BCP 47 tag, such as pt-BR")
        before = len(problems.found)
        for field in FIELDS:
            problems.text(path + field, getattr(content, field), at_most=LIMITS.source_chars_max)
        if len(problems.found) == before:
            for field, problem in self._renderer.problems(content).items():
                problems.add(path + field, problem)
        return content


PAGE_BYTES_MAX = 2 * 1024 * 1024


def to_proto(tenant: str, t: Template) -> pb.Template:
    return pb.Template(
        name=names.template_name(tenant, t.id),
        display_name=t.display_name,
        default_locale=t.default_locale,
        contents=[
            pb.TemplateContent(
                channel=c.channel,
                locale=c.locale,
                subject=c.subject,
                text=c.text,
                html=c.html,
                action_url=c.action_url,
            )
            for c in t.contents
        ],
        version=t.version,
        etag=t.etag,
        create_time=timestamp(t.create_time),
        update_time=timestamp(t.update_time),
    )
