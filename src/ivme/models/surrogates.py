"""Lone surrogates: halves of a pair, which JSON can say, and neither UTF-8 nor a tokenizer can."""


def without_lone_surrogates(text: str) -> str:
    """Return the text with U+FFFD for halves of surrogate pairs, which UTF-8 cannot say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
