"""Several experiments that answer one question together, measured into one directory.

``ROOT/TIME-NAME/`` holds a result directory for each experiment, and what is made of all of them:
``report.md`` and ``report.json``. What was broken off goes on, experiment by experiment.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import experiment as experiments
from bench.experiment import Experiment
from bench.results import EXPERIMENT, Results
from steering.errors import BadInput, OversprayError, unknown

SHELF = Path(__file__).parent / "experiments"
FAILED = "failed.txt"
"""In the directory of an experiment that this host can't run: the reason."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One experiment of a suite, as it is to be measured."""

    text: str
    experiment: Experiment

    @property
    def name(self) -> str:
        """The experiment's, and its directory's."""
        return self.experiment.name


def parts(suite: str, *, quick: bool, wanted: Sequence[str] = ()) -> list[Part]:
    """The experiments of a suite (or those that are wanted), in the order of their files' names.

    Raises:
        BadInput: one that is wanted does not exist, or a file is not as it should be.
    """
    files = {file.stem: file for file in sorted((SHELF / suite).glob("*.toml"))}
    for name in wanted:
        if name not in files:
            raise unknown(f"experiment of '{suite}'", name, files)
    found = []
    for name, file in files.items():
        if not wanted or name in wanted:
            text = experiments.quick(file.read_text()) if quick else file.read_text()
            found.append(Part(text, experiments.parse(text, str(file))))
    return found


def begin(root: Path, suite: str, chosen: Sequence[Part]) -> Path:
    """A new directory for these experiments; BadInput if it can't be made."""
    path = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{suite}"
    for part in chosen:
        Results.begin(path / part.name, part.text)
    return path


def held(path: Path) -> list[Part]:
    """The experiments of a directory as they were when it was begun.

    Raises:
        BadInput: it holds none, or a damaged one.
    """
    files = sorted(path.glob(f"*/{EXPERIMENT}"))
    if not files:
        raise BadInput(f"'{path}' is no directory of experiments: it holds no */{EXPERIMENT}")
    return [Part(file.read_text(), experiments.load(file)) for file in files]


def carried_out(path: Path, chosen: Sequence[Part], lab: str, note: Note) -> None:
    """Measure what is missing. What this host can't run is put down with its reason, no more."""
    from bench.carry_out import carry_out

    for part in chosen:
        results = Results.open(path / part.name)
        failed = results.path / FAILED
        note(f"{part.name}: {part.experiment.title}")
        try:
            carry_out(part.experiment, results, lab)
        except OversprayError as error:
            failed.write_text(f"{error}\n")
            note(f"{part.name}: not measured: {error}")
        else:
            failed.unlink(missing_ok=True)


def failure(results: Results) -> str | None:
    """Why an experiment could not be measured, if it could not."""
    file = results.path / FAILED
    return file.read_text().strip() if file.is_file() else None
