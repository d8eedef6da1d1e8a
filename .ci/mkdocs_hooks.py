"""Shows Sphinx's roles in docstrings, such as :class:`Plan`, as plain code, and keeps notebooks off the network."""

import re
from typing import Any


def on_page_content(html: str, **_: Any) -> str:
    """Drop roles' names, the tilde before a dotted path's last part, and what loads Mermaid into notebooks."""
    html = re.sub(r'<script type="module">(?:(?!</script>).)*?mermaid.*?</script>', "", html, flags=re.DOTALL)
    html = re.sub(r":(?:attr|class|exc|func|meth|mod):(?=<code>)", "", html)
    return re.sub(r"<code>~[\w.]*?(\w+)</code>", r"<code>\1</code>", html)
