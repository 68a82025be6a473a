"""HTML and SVG as Python calls: text is escaped unless it came out of a call, so none is missed."""

import html

_VOID = {"meta", "br", "input", "hr"}
# Control characters are no text in HTML, whatever a file's name holds.
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Markup(str):
    """Text that is HTML already; `tag` makes it, and everything else is escaped."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Content as HTML: markup as it is, anything else escaped."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(str(content).translate(_CONTROLS), quote=True))


def join(*content: object) -> Markup:
    """Several pieces of content, one after another; None is left out."""
    return Markup("".join(text(each) for each in content if each is not None))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: as "p".
        content: text, which is escaped, or markup.
        attributes: underscores become hyphens and one at the end goes (`class_`); None and False
            are left out, True is an attribute without a value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{text(value)}"')
    start = "<" + " ".join(parts) + ">"
    return Markup(start if name in _VOID else f"{start}{join(*content)}</{name}>")
