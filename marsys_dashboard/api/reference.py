"""A page to read of the HTTP API, made of its OpenAPI document: no script and no file from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from marsys_dashboard.api.site import api
from marsys_dashboard.failures import TITLES
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require

Document = Mapping[str, Any]

WAYS = {"query": "In the address.", "path": "In the path."}


@dataclass(frozen=True)
class Value:
    """Something that is sent or answered."""

    name: str
    kind: str
    about: SafeString
    required: bool = False


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    address: str
    summary: str
    description: SafeString
    sent: list[Value]
    answered: list[Value]
    answers_many: bool


@require_safe
@require("view")
async def reference(request: HttpRequest) -> HttpResponse:
    problems = [(status, title) for status, title in TITLES.items() if status != 500]
    context = {"section": "tokens", "groups": _groups(), "problems": problems}
    return await page(request, "tokens/reference.html", context)


@cache
def _groups() -> dict[str, list[Operation]]:
    """By tag. It is the same for everybody, and for as long as the process lives."""
    schema = api.get_openapi_schema()
    groups: dict[str, list[Operation]] = {}
    for address, methods in schema["paths"].items():
        for method, each in methods.items():
            tag = each["tags"][0]
            groups.setdefault(tag, []).append(_operation(schema, address, method, each))
    return groups


def _operation(schema: Document, address: str, method: str, each: Document) -> Operation:
    answer = _content(each["responses"].get(200, {}))
    many = answer.get("items", {})
    return Operation(
        id=each["operationId"],
        method=method.upper(),
        address=address,
        summary=each["summary"],
        description=_marked(each.get("description", "")),
        sent=[*map(_parameter, each["parameters"]), *_fields(schema, _content(each.get("requestBody", {})))],
        answered=list(_fields(schema, many or answer)),
        answers_many=bool(many),
    )


def _content(part: Document) -> Document:
    found: Document = next(iter(part.get("content", {}).values()), {}).get("schema", {})
    return found


def _parameter(each: Document) -> Value:
    about = each.get("description") or each["schema"].get("description") or WAYS[each["in"]]
    return Value(each["name"], _kind(each["schema"]), _marked(about), each.get("required", False))


def _fields(schema: Document, part: Document) -> Iterator[Value]:
    whole = _resolved(schema, part)
    required = whole.get("required", ())
    for name, each in whole.get("properties", {}).items():
        yield Value(name, _kind(each), _marked(each.get("description", "")), name in required)


def _resolved(schema: Document, part: Document) -> Document:
    found: Document = schema["components"]["schemas"].get(_name(part), part)
    return found


def _name(part: Document) -> str:
    return str(part.get("$ref", "")).rpartition("/")[2]


def _marked(text: str) -> SafeString:
    """What stands between backticks is code."""
    parts = enumerate(text.split("`"))
    marked = (format_html("<code>{}</code>", part) if number % 2 else part for number, part in parts)
    return format_html_join("", "{}", ((part,) for part in marked))


def _kind(part: Document) -> str:
    """``text``, ``list of Session``, ``object or null``."""
    if "anyOf" in part:
        kinds = " or ".join(map(_kind, part["anyOf"])).split(" or ")
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in part:
        return _name(part)
    if part.get("type") == "array":
        return f"list of {_kind(part['items'])}"
    if part.get("format") == "date-time":
        return "time"
    return {"string": "text"}.get(part.get("type", ""), part.get("type", "anything"))


urlpatterns = [path("api-reference/", reference, name="api-reference")]
