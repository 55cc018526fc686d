"""Text that comes from files, safe to print."""


def printable(words: str, *, newlines: bool = False) -> str:
    """``words`` with whatever could steer a terminal made visible; ``newlines`` stay if asked."""
    kept = "\n" if newlines else ""
    return "".join(letter if letter.isprintable() or letter in kept else "�" for letter in words)
