"""The command line: argv in, the same public verbs called, failures told as one sentence.

Each command is a plain function with Typer annotations in a file of its own. Only the command that
was asked for is loaded; ``lepton --help`` loads all of them, and none of them loads an engine
before it runs.

Exit codes: 0 done, 1 a failure that is not the caller's, 2 bad usage or bad input, 130 interrupted;
a command may add its own (``optimize``: 3, the budget was missed).
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from lepton_ai.errors import LeptonError, MissingExtraError, UserError
from lepton_ai.registry import Registry

_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)

commands: Registry[Callable[..., Any]] = Registry("commands", extra="all")
commands.register("demo", "lepton_ai.cli.demo:demo")
commands.register("inspect", "lepton_ai.cli.inspect:inspect")
commands.register("advise", "lepton_ai.cli.advise:advise")
commands.register("rewrite", "lepton_ai.cli.rewrite:rewrite")
commands.register("optimize", "lepton_ai.cli.optimize:optimize")
commands.register("bench", "lepton_ai.cli.bench:bench")
commands.register("verify", "lepton_ai.cli.verify:verify")
commands.register("serve", "lepton_ai.cli.serve:serve")
commands.register("report", "lepton_ai.cli.report:report")
commands.register("doctor", "lepton_ai.cli.doctor:doctor")


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``lepton`` on ``argv`` (default: the process's own) and exit the process.

    Raises:
        SystemExit: always, with the exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        typer.main.get_command(_application(words))(words, prog_name="lepton")
    except UserError as failure:
        _leave(2, _sentence(failure))
    except LeptonError as failure:
        _leave(1, _sentence(failure))
    except KeyboardInterrupt:
        _leave(_INTERRUPTED, "interrupted")
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what Typer makes of Ctrl-C, without a word
            _leave(_INTERRUPTED, "interrupted")
        raise
    except ModuleNotFoundError as failure:
        _leave_without_module(failure)
    except Exception as failure:
        if os.environ.get("LEPTON_DEBUG") == "1":
            raise
        _leave_unforeseen(failure)


def _application(words: Sequence[str]) -> typer.Typer:
    """A Typer application that holds the command in ``words``, or all of them if it is unclear."""
    application = typer.Typer(
        name="lepton",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its formatter alone takes longer to load than all the rest
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_root)
    for name in _wanted(words):
        application.command(name)(commands.get(name))
    return application


def _wanted(words: Sequence[str]) -> tuple[str, ...]:
    """The commands to load for ``words``: the one asked for, none for a version, else all."""
    if words[:1] == ["--version"]:
        return ()
    known = commands.names()
    return (words[0],) if words and words[0] in known else known


def _print_version(wanted: bool) -> None:
    if wanted:
        from lepton_ai import __version__

        typer.echo(f"lepton {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A trained model, data and a budget in; the fastest artifact proven to meet it out."""


def _sentence(failure: Exception) -> str:
    """The failure's message on one line, so that a program can read it from stderr."""
    return " ".join(str(failure).split())


def _leave(code: int, sentence: str) -> None:
    typer.echo(f"lepton: {sentence}", err=True)
    raise SystemExit(code)


def _leave_unforeseen(failure: Exception) -> None:
    """What the system refused is told as that; anything else is a bug."""
    if isinstance(failure, OSError) and failure.errno in _FULL:
        _leave(1, f"{_sentence(failure)}; free some space, and run the same command again")
    if isinstance(failure, OSError) and failure.errno == errno.ENAMETOOLONG:
        _leave(2, f"{_sentence(failure)}; choose a shorter path")
    _leave(
        1,
        f"this is a bug in Lepton ({type(failure).__name__}: {_sentence(failure)}); "
        "run it again with LEPTON_DEBUG=1 and report what it prints",
    )


def _leave_without_module(failure: ModuleNotFoundError) -> None:
    """A module of an extra that is not installed is the caller's to mend; one of ours is a bug."""
    package = (failure.name or "").partition(".")[0]
    if os.environ.get("LEPTON_DEBUG") == "1":
        raise failure
    if package in ("", "lepton_ai"):
        _leave(1, f"this is a bug in Lepton ({_sentence(failure)})")
    _leave(2, _sentence(MissingExtraError(package, "all")))
