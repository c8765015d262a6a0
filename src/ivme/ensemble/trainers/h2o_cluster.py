"""An H2O cluster to train on: one that runs already, or one started here and always stopped.

Owns connecting, sending rows to it, and cleaning up. What is trained is not its matter.
"""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.rows import FeatureRows
from ivme.ensemble.trainers.settings import H2OPlace
from ivme.errors import UsageError

# Parentheses keep them apart from every feature, whose names begin with their kind of n-gram.
LABEL_COLUMN = "(label)"
PADDING_COLUMN = "(padding)"


@contextlib.contextmanager
def h2o_cluster(place: H2OPlace) -> Iterator[Any]:
    """Yield the module h2o, connected; afterwards disconnect, and stop what was started here.

    Raises:
        UsageError: h2o or Java is not installed, the cluster does not start, or no cluster answers
            at the URL.
    """
    try:
        import h2o
    except ImportError as error:
        raise UsageError(
            "trainer='h2o' needs the package h2o, which is not installed: pip install 'ivme[h2o]', "
            "or choose trainer='sklearn'"
        ) from error
    with contextlib.ExitStack() as cleanup:
        target = {"server": _start(place, cleanup)} if place.url is None else {"url": place.url}
        try:
            connection = h2o.connect(**target, verbose=False)
        except Exception as error:  # of sockets, of HTTP, of H2O, of its checks of arguments
            raise UsageError(
                f"no H2O cluster answers at {place.url or 'the one just started'} "
                f"({_first_line(error)}); check the URL, or leave it out to start one here"
            ) from error
        cleanup.callback(connection.close)
        h2o.no_progress()
        yield h2o


def _start(place: H2OPlace, cleanup: contextlib.ExitStack) -> Any:
    from h2o.backend import H2OLocalServer

    if shutil.which("java") is None:
        raise UsageError(
            "H2O runs on Java, and there is no java on the PATH: install one (Debian: "
            "default-jre-headless), give the URL of a running cluster, or choose trainer='sklearn'"
        )
    files = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="ivme-h2o-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # h2o leaves its log files open
            server = H2OLocalServer.start(
                nthreads=place.threads,
                max_mem_size=place.memory_bytes,
                ice_root=files,
                log_dir=files,
                bind_to_localhost=True,
                verbose=False,
            )
    except Exception as error:
        raise UsageError(f"H2O did not start here: {_first_line(error)}") from error
    cleanup.callback(server.shutdown)
    return server


@contextlib.contextmanager
def uploaded(
    h2o: Any,
    rows: FeatureRows,
    column_names: Sequence[str],
    label_numbers: NDArray[np.intp],
) -> Iterator[Any]:
    """Yield the rows as a frame on the cluster: LABEL_COLUMN, then the features by their names.

    Rows travel sparse; the cluster keeps them sparse. The frame is removed afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="ivme-h2o-") as folder:
        path = Path(folder) / "rows.svm"
        write_svmlight(path, rows, label_numbers)
        raw = h2o.api("POST /3/PostFile", filename=str(path))["destination_frame"]
    setup = h2o.api(
        "POST /3/ParseSetup", data={"source_frames": f'["{raw}"]', "parse_type": "SVMLight"}
    )
    columns = [LABEL_COLUMN, *column_names, PADDING_COLUMN]
    setup["column_types"] = ["Numeric"] * len(columns)
    frame = h2o.parse_raw(setup)
    parsed = frame.frame_id
    try:
        frame.names = columns
        frame[LABEL_COLUMN] = frame[LABEL_COLUMN].asfactor()
        yield frame
    finally:
        h2o.remove(frame)
        h2o.remove(parsed)  # naming the labels made another frame of it


def write_svmlight(path: Path, rows: FeatureRows, label_numbers: NDArray[np.intp]) -> None:
    """Write the rows in svmlight format, columns counted from 1.

    Each row ends with a 1 in a column of its own: H2O makes only as many columns as it sees, and
    the last features may be in no text.
    """
    padding = f" {rows.feature_count + 1}:1\n"
    bounds = zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist(), strict=True)
    with path.open("w", encoding="ascii") as file:
        for number, (first, end) in zip(label_numbers.tolist(), bounds, strict=True):
            columns = (rows.indices[first:end] + 1).tolist()
            values = rows.values[first:end].tolist()
            stored = (f" {column}:{value!r}" for column, value in zip(columns, values, strict=True))
            file.write(f"{number}{''.join(stored)}{padding}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
