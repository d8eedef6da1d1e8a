"""Shows Sphinx's roles in docstrings, such as :class:`Plan`, as plain code on the API page."""

import re
from typing import Any


def on_page_content(html: str, **_: Any) -> str:
    """Drop the role's name and the tilde before a dotted path's last part."""
    html = re.sub(r":(?:attr|class|exc|func|meth|mod):(?=<code>)", "", html)
    return re.sub(r"<code>~[\w.]*?(\w+)</code>", r"<code>\1</code>", html)
