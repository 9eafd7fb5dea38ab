"""Renders an OpenAPI document as one HTML page without scripts, and without anything to fetch."""

import html
import json

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#222;background:#fff}
h1{margin-bottom:0}code,pre{font:14px/1.45 ui-monospace,monospace;background:#f3f3f3;border-radius:4px}
code{padding:.1em .3em}pre{padding:.7em;overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25em .6em .25em 0;border-bottom:1px solid #ddd}
summary{cursor:pointer;padding:.3em 0}summary b{display:inline-block;min-width:3.5em}
details{border-top:1px solid #ccc}section{padding:0 0 1em 1em}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}code,pre{background:#262626}
th,td,details{border-color:#444}}
"""


def text_of(value):
    return html.escape(str(value))


def resolve(made, schema):
    while "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def kind_of(made, schema):
    """A schema in a few words."""
    if "$ref" in schema:
        return kind_of(made, resolve(made, schema))
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(made, one) for one in schema["anyOf"]))
    kinds = schema.get("type", "anything")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "array" in words and "items" in schema:
        words = words.replace("array", "array of (" + kind_of(made, schema["items"]) + ")")
    return words


def members(made, schema):
    """The table of an object's members; "" for anything else."""
    rows = []
    for name, member in schema.get("properties", {}).items():
        needed = " (required)" if name in schema.get("required", ()) else ""
        rows.append(f"<tr><td><code>{text_of(name)}</code>{needed}</td><td>{text_of(kind_of(made, member))}</td>"
                    f"<td>{text_of(member.get('description', ''))}</td></tr>")
    return "<table><tr><th>member</th><th>type</th><th></th></tr>" + "".join(rows) + "</table>" if rows else ""


def alternatives(made, schema):
    """(name, schema) of each form that a body may have."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        inner = resolve(made, schema)
        if "anyOf" in inner and all("properties" in one for one in inner["anyOf"]):
            return [(name, one) for one in inner["anyOf"]]
        return [(name, inner)]
    return [pair for one in schema.get("anyOf", [schema]) for pair in (
        alternatives(made, one) if "$ref" in one else [("", one)])]


def body_of(made, title, content):
    parts = []
    for kind, media in content.items():
        for name, schema in alternatives(made, media["schema"]):
            parts.append(f"<h4>{title}: {text_of(name)} <small>{text_of(kind)}</small></h4>")
            parts.append(members(made, schema) or members(made, resolve(made, schema.get("items", {})))
                         or f"<p>{text_of(kind_of(made, schema))}</p>")
            if "example" in schema:
                parts.append(f"<pre>{text_of(json.dumps(schema['example'], indent=1))}</pre>")
    return "".join(parts)


def operation(made, path, method, spec):
    parts = [f"<details><summary><b>{method.upper()}</b> <code>{text_of(path)}</code> "
             f"{text_of(spec['summary'])}</summary><section>"]
    if "parameters" in spec:
        headers = {one["name"]: one["schema"] for one in spec["parameters"]}
        parts.append("<h4>Headers</h4>" + members(made, {"properties": headers}))
    if "requestBody" in spec:
        parts.append(body_of(made, "Request", spec["requestBody"]["content"]))
    parts.append(body_of(made, "Answer", spec["responses"]["200"].get("content", {})))
    rows = [f"<tr><td>{status}</td><td>{text_of(reply['description'])}</td></tr>"
            for status, reply in spec["responses"].items()]
    parts.append("<h4>Statuses</h4><table>" + "".join(rows) + "</table></section></details>")
    return "".join(parts)


def render(made):
    info = made["info"]
    parts = ["<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport "
             "content='width=device-width,initial-scale=1'><title>", text_of(info["title"]),
             "</title><style>", STYLE, "</style><h1>", text_of(info["title"]), " ", text_of(info["version"]),
             "</h1><p>", text_of(info["description"]), "</p><p>The same for machines: <a href=openapi.json>"
             "openapi.json</a>. A key, where the server wants one, goes into <code>Authorization: Bearer "
             "KEY</code>.</p>"]
    for tag, title in (("scores", "Scores"), ("server", "The server")):
        parts.append(f"<h2>{title}</h2>")
        for path, methods in made["paths"].items():
            parts += [operation(made, path, method, spec) for method, spec in methods.items()
                      if spec["tags"] == [tag]]
    return "".join(parts) + "</html>\n"
