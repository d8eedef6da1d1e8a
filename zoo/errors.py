"""What the zoo raises."""

from __future__ import annotations

import unicodedata

#: Marks that turn the direction of writing, with which a text can look like another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class ZooError(ValueError):
    """An entry, or what is given with it, is not what it should be; the text names what is wrong.

    :param text: the text; what a terminal would obey in it, as a stranger's file may have it, is written as an escape
    """

    def __init__(self, text: str):
        super().__init__("".join(f"\\x{ord(sign):02x}" if is_control(sign) else sign for sign in text))


def is_control(sign: str) -> bool:
    """Tell whether a terminal obeys a character rather than shows it; line ends and tabs don't count.

    :param sign: the character
    """
    return sign in _TURNING or (unicodedata.category(sign) == "Cc" and sign not in "\n\t")
