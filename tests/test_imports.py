"""The public names, and the direction of the imports between the rooms."""

from pathlib import Path

import pytest

import lepton_ai


@pytest.mark.parametrize("name", lepton_ai.__all__)
def test_public_name_loads(name: str) -> None:
    assert getattr(lepton_ai, name) is not None


def test_public_names_are_listed() -> None:
    assert set(lepton_ai.__all__) <= set(dir(lepton_ai))
    assert sorted(lepton_ai.__all__) == list(lepton_ai.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lepton_ai' has no attribute 'optimise'"):
        _ = lepton_ai.optimise


def test_public_names_are_what_they_say() -> None:
    from lepton_ai.errors import LeptonError, UserError
    from lepton_ai.plan.budget import Budget

    assert lepton_ai.LeptonError is LeptonError
    assert lepton_ai.UserError is UserError
    assert lepton_ai.Budget is Budget
    assert lepton_ai.__version__[0].isdigit()


def test_rooms_import_in_one_direction(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(repository)
    status = lint_imports(config_filename=".importlinter", no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_room_is_on_the_map(repository: Path) -> None:
    source = repository / "src" / "lepton_ai"
    rooms = {path.parent.name for path in source.glob("*/*.py")}
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {room for room in rooms if f"\n{room}/ " not in page} == set()
