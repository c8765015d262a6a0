"""Undoes what changes the characters of a text, but not how it reads.

Invisible characters, look-alike letters of other alphabets, typographic quotes and runs of white
space come and go with the programs that a text passed through, and cost a forger nothing.
"""

import re
import unicodedata

from ivme.models.surrogates import without_lone_surrogates

__all__ = ["normalized", "without_lone_surrogates"]

# What looks like an ASCII letter: Cyrillic, Greek, and two letters of the phonetic alphabet.
_LOOKALIKES = dict(
    zip(
        "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423"
        "\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0445\u0443\u04bb\u0501\u051b\u051d\u0475"
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7\u03a5"
        "\u03bf\u03bd\u0251\u0261",
        "ABESIJKMHOPCTXYaesijopcxyhdqwvABEZHIKMNOPTXYovag",
        strict=True,
    )
)
_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014", "-"),
    }
)
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_WORD = re.compile(r"\w+")


def normalized(text: str) -> str:
    """Return the text in its plainest spelling; an ASCII text loses white space at most.

    Look-alike letters are replaced in words that are ASCII throughout thereafter, so that other
    alphabets stay what they are, short words of look-alikes alone excepted.
    """
    from ivme.ensemble import _kernels

    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_MARKS)
        if not _LOOKALIKES.keys().isdisjoint(text):
            text = _WORD.sub(_plain_word, text)
    return _kernels.with_single_blanks(text)


def _plain_word(found: re.Match[str]) -> str:
    word = found[0]
    plain = "".join(_LOOKALIKES.get(letter, letter) for letter in word)
    return plain if plain.isascii() else word
