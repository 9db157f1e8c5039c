"""HTML of the pages for people."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from infra.api.openapi import operations
from shared.errors import ErrorSpec

STYLE = """
:root{color-scheme:light dark;--ink:#16202b;--dim:#5b6875;--line:#dde3e9;--paper:#fff;--soft:#f5f7f9;--link:#0b5cad;
--get:#0b6bcb;--post:#1a7f4b;--put:#8a5a00;--patch:#8a5a00;--delete:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--dim:#9aa7b4;--line:#2b3540;--paper:#12181f;--soft:#1a222b;
--link:#7db7f5;--get:#58a6ff;--post:#4cc38a;--put:#e0a83c;--patch:#e0a83c;--delete:#ff7b72}}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0;color:var(--ink);background:var(--paper);font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
.frame{display:grid;grid-template-columns:17rem minmax(0,1fr);max-width:88rem;margin:auto}
nav{position:sticky;top:0;align-self:start;height:100vh;overflow:auto;padding:1.5rem 1rem 3rem;
border-right:1px solid var(--line);font-size:13.5px}
nav h2{margin:1.3rem 0 .3rem;font-size:12px;letter-spacing:.06em;text-transform:uppercase;color:var(--dim);border:0}
nav a{display:block;padding:.12rem .4rem;border-radius:5px;color:inherit}nav a:hover{background:var(--soft)}
nav .brand{font-weight:700;font-size:17px;margin-bottom:.5rem}
main{padding:1.5rem 2.5rem 6rem;min-width:0}
h1{font-size:30px;margin:.2rem 0 0}h2{font-size:22px;margin:3rem 0 .2rem;padding-bottom:.3rem;
border-bottom:1px solid var(--line)}h3{font-size:17px;margin:0}h4{margin:1.1rem 0 .3rem;font-size:13px;color:var(--dim)}
.dim{color:var(--dim)}.lead{font-size:18px;color:var(--dim);margin-top:.2rem}
section.op{margin:1.6rem 0;border:1px solid var(--line);border-radius:10px;overflow:hidden}
.op>header{padding:.8rem 1rem;background:var(--soft);border-bottom:1px solid var(--line)}
.op>header code{font-size:14px;font-weight:600;background:none;padding:0}
.cols{display:grid;grid-template-columns:minmax(0,1.15fr) minmax(0,1fr);gap:1.5rem;padding:.2rem 1rem 1rem}
.m{display:inline-block;min-width:4.2rem;margin-right:.5rem;padding:.05rem .45rem;border-radius:5px;color:#fff;
font:700 11.5px/1.7 ui-monospace,monospace;text-align:center;text-transform:uppercase}
.m.get{background:#0b6bcb}.m.post{background:#1a7f4b}.m.put,.m.patch{background:#8a5a00}.m.delete{background:#b3261e}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,monospace;font-size:13px}
code{background:var(--soft);padding:.08rem .3rem;border-radius:4px;overflow-wrap:anywhere}
pre{margin:.2rem 0;padding:.7rem .9rem;max-height:24rem;overflow:auto;background:var(--soft);
border:1px solid var(--line);border-radius:8px;line-height:1.45}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{padding:.4rem .5rem .4rem 0;border-top:1px solid var(--line);text-align:left;vertical-align:top}
th{border:0;color:var(--dim);font-weight:600;font-size:12.5px}td:first-child{white-space:nowrap}
.need{color:var(--delete);font-size:12px}tr:target,section:target{outline:2px solid var(--link);outline-offset:2px}
@media(max-width:60rem){.frame,.cols{display:block}nav{position:static;height:auto;border:0}main{padding:1rem}}
"""
_SECRET = "$EARWITNESS_KEY"  # noqa: S105 - a variable's name


def errors(catalogue: Iterable[ErrorSpec]) -> str:
    """The page of error codes, with an anchor each."""
    rows = "".join(
        f'<tr id="{escape(spec.code)}"><td><a href="#{escape(spec.code)}"><code>{escape(spec.code)}</code></a></td>'
        f"<td>{spec.http_status}</td><td>{'yes' if spec.retryable else 'no'}</td><td>{escape(spec.meaning)}</td></tr>"
        for spec in catalogue
    )
    table = f"<table><tr><th>code</th><th>status</th><th>retryable</th><th>meaning</th></tr>{rows}</table>"
    lead = "Codes are stable: they are only ever added. Retryable: the same request may succeed later."
    navigation = '<a class="brand" href="docs">Earwitness</a><a href="docs">API reference</a>'
    return _frame("Error codes", navigation, f'<h1>Error codes</h1><p class="lead">{lead}</p>{table}')


def reference(document: Mapping[str, Any]) -> str:
    """The page of all operations, by their tags, and of all schemas."""
    info, schemas = document["info"], document["components"]["schemas"]
    main = [f"<h1>{escape(info['title'])} API</h1>", f'<p class="lead">{escape(info.get("summary", ""))}</p>']
    main.append(_prose(info["description"]))
    main.append('<p><a href="openapi.json">OpenAPI document</a> · <a href="errors">Error codes</a></p>')
    navigation = ['<a class="brand" href="#">Earwitness</a><a href="errors">Error codes</a>']
    for tag in document["tags"]:
        name = tag["name"]
        navigation.append(f"<h2>{escape(name)}</h2>")
        main.append(f'<h2 id="{escape(name)}">{escape(name.capitalize())}</h2>{_prose(tag.get("description", ""))}')
        for path, method, operation in operations(document):
            if name in operation.get("tags", ()):
                anchor = escape(operation["operationId"])
                navigation.append(f'<a href="#{anchor}">{escape(operation["summary"])}</a>')
                main.append(_operation(document, path, method, operation))
    navigation.append("<h2>Schemas</h2>")
    main.append('<h2 id="schemas">Schemas</h2>')
    for name, schema in sorted(schemas.items()):
        navigation.append(f'<a href="#schema-{escape(name)}">{escape(name)}</a>')
        main.append(_schema(name, schema))
    return _frame("API reference", "".join(navigation), "".join(main))


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(_parameter(parameter) for parameter in operation.get("parameters", ()))
    left = f"<h4>Parameters</h4><table>{parameters}</table>" if parameters else ""
    body = operation.get("requestBody", {}).get("content", {})
    for media_type, content in body.items():
        schema = content["schema"]
        known = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
        left += f"<h4>Body <code>{escape(media_type)}</code> {_kind(schema)}</h4>{_inside(known)}"
    answers, results = "", ""
    for status, response in operation["responses"].items():
        answers += _answer(status, response) if "$ref" not in response else ""
        for content in response.get("content", {}).values():
            if "example" in content:
                shown = escape(json.dumps(content["example"], indent=2, ensure_ascii=False))
                results += f"<h4>Answer {escape(status)}</h4><pre>{shown}</pre>"
    problems = sorted(status for status, response in operation["responses"].items() if "$ref" in response)
    told = " ".join(f"<code>{escape(status)}</code>" for status in problems)
    answers += f"<tr><td><a href='#schema-Problem'>Problems</a></td><td>{told}</td></tr>"
    left += f"<h4>Answers</h4><table>{answers}</table>"
    right = f"<h4>Request</h4><pre>{escape(_curl(document, path, method, operation))}</pre>{results}"
    left = _prose(operation.get("description", "")) + left
    return (
        f'<section class="op" id="{escape(operation["operationId"])}"><header><h3>{escape(operation["summary"])}</h3>'
        f'<span class="m {method}">{method}</span><code>{escape(path)}</code></header>'
        f'<div class="cols"><div>{left}</div><div>{right}</div></div></section>'
    )


def _parameter(parameter: Mapping[str, Any]) -> str:
    need = ' <span class="need">required</span>' if parameter.get("required") else ""
    text = parameter.get("description") or parameter.get("schema", {}).get("description", "")
    place = f"<span class=dim>{escape(parameter['in'])}</span>"
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code>{need}<br>{place}</td>"
        f"<td>{_kind(parameter.get('schema', {}))}<br>{_inline(text)}</td></tr>"
    )


def _answer(status: str, response: Mapping[str, Any]) -> str:
    kinds = [
        f"<code>{escape(media_type)}</code> {_kind(content['schema']) if content.get('schema') else ''}"
        for media_type, content in response.get("content", {}).items()
    ]
    told = "<br>".join((_inline(response.get("description", "")), *kinds))
    return f"<tr><td><code>{escape(status)}</code></td><td>{told}</td></tr>"


def _curl(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    lines = [f"curl {'' if method == 'get' else f'-X {method.upper()} '}{document['servers'][0]['url']}{path}"]
    if operation.get("security"):
        lines.append(f'-H "authorization: Bearer {_SECRET}"')
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "multipart/form-data":
            lines.append("-F file=@meeting.m4a")
        elif "example" in content:
            lines += [f"-H 'content-type: {media_type}'", f"-d '{json.dumps(content['example'], ensure_ascii=False)}'"]
    return " \\\n  ".join(lines)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    title = f"<header><h3>{escape(name)}</h3></header>"
    content = f"{_prose(schema.get('description', ''))}{_inside(schema)}"
    columns = f'<div class="cols"><div>{content}</div></div>'
    return f'<section class="op" id="schema-{escape(name)}">{title}{columns}</section>'


def _inside(schema: Mapping[str, Any]) -> str:
    """The fields of an object, or what kind of thing it is."""
    if "properties" not in schema:
        return f"<p>{_kind(schema)}</p>"
    return f"<table>{''.join(_fields(schema))}</table>"


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        need = ' <span class="need">required</span>' if name in schema.get("required", ()) else ""
        default = field.get("default")
        told = f" <span class=dim>default <code>{escape(json.dumps(default))}</code></span>" if default else ""
        yield (
            f"<tr><td><code>{escape(name)}</code>{need}</td>"
            f"<td>{_kind(field)}{told}<br>{_inline(field.get('description', ''))}</td></tr>"
        )


def _kind(schema: Mapping[str, Any]) -> str:
    """What kind of value a schema is of, in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "enum" in schema or "const" in schema:
        return " | ".join(
            f"<code>{escape(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")])
        )
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return " | ".join(_kind(inner) for inner in schema[keyword])
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    limits = [f"{word} {schema[key]:.16g}" for key, word in _LIMITS.items() if key in schema]
    kind = schema.get("format") or schema.get("type") or "any"
    return escape(f"{kind}{' (' + ', '.join(limits) + ')' if limits else ''}")


_LIMITS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minLength": "at least",
    "maxLength": "at most",
}


def _prose(text: str) -> str:
    """Paragraphs of the little Markdown that descriptions use."""
    return "".join(f"<p>{_inline(' '.join(part.split()))}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    safe = escape(text.replace("``", "`"), quote=False)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)


def _frame(title: str, navigation: str, main: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} · Earwitness</title><style>{STYLE}</style></head>"
        f'<body><div class="frame"><nav>{navigation}</nav><main>{main}</main></div></body></html>'
    )
