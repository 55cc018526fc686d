"""Every failure that Lepton raises on purpose.

```
LeptonError
├── UserError                    something the caller can mend; the command line exits with 2
│   ├── ModelError               a model that cannot be read, bound or run
│   ├── DataError                samples that do not fit the model or the metric
│   ├── MetricError              a metric that is unknown, raises, or answers with nonsense
│   ├── BudgetError              a budget that contradicts itself or has no meaning
│   ├── OutputError              an output path that exists or cannot be written
│   ├── BundleError              a bundle that is incomplete or does not answer as recorded
│   │   └── TamperedError        a bundle whose bytes differ from its manifest
│   ├── UnsafeFileError          a pickle, refused unless asked for by name
│   ├── MissingExtraError        an optional dependency that is not installed
│   ├── UnknownNameError         a name that no registry entry carries
│   └── ServeError               a server that cannot start as asked
├── EngineError                  an engine that refused or failed on a graph
│   └── EngineUnavailableError   an engine that this machine cannot run
├── DivergedError                a training whose loss is no longer a number
├── WorkerError                  a child process that died, hung or ran out of memory
└── RegistryError                a plug-in that is broken or registered twice
```

Each message says what was wanted, what came, and what to do next, in one sentence.
"""


class LeptonError(Exception):
    """Base of every failure that Lepton raises on purpose."""


class UserError(LeptonError):
    """Something the caller can mend: a file, an argument, a sample."""


class ModelError(UserError):
    """A model that cannot be read, bound or run."""


class DataError(UserError):
    """Samples that do not fit the model or the metric."""


class MetricError(UserError):
    """A metric that is unknown, raises, or answers with nonsense."""


class BudgetError(UserError):
    """A budget that contradicts itself or has no meaning."""


class OutputError(UserError):
    """An output path that exists, is of the wrong kind or cannot be written."""


class BundleError(UserError):
    """A bundle that is incomplete or does not answer as recorded."""


class TamperedError(BundleError):
    """A bundle whose bytes differ from its manifest."""


class UnsafeFileError(UserError):
    """A pickle where plain data was expected."""


class MissingExtraError(UserError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is needed for this and is not installed: pip install 'lepton-ai[{extra}]'"
        )
        self.package = package
        self.extra = extra


class UnknownNameError(UserError):
    """A name that no registry entry carries."""


class ServeError(UserError):
    """A server that cannot start as asked."""


class EngineError(LeptonError):
    """An engine that refused or failed on a graph."""


class EngineUnavailableError(EngineError):
    """An engine that this machine cannot run."""


class DivergedError(LeptonError):
    """A training whose loss is no longer a number."""


class WorkerError(LeptonError):
    """A child process that died, hung or ran out of memory."""


class RegistryError(LeptonError):
    """A plug-in that is broken or registered twice."""


def first_line(failure: BaseException | str) -> str:
    """What a failure of another library says, without the traces and the advice that follow."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__
