"""What the page of studies draws, on the server and in saved pages."""

from dataclasses import asdict

from counterstain.evaluation.format import METRIC_NAMES
from counterstain.serving.runs import RunsFolder

__all__ = ["studies_data"]


def studies_data(runs: RunsFolder) -> dict[str, object]:
    """Every run as a row, and the names of the measures."""
    return {"runs": [asdict(row) for row in runs.rows()], "names": METRIC_NAMES}
