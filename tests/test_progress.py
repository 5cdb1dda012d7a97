"""An epoch in one line, and the time left of a training."""

import pytest

from counterstain.progress import Pace, TrainingProgress, duration, epoch_line


def at(epoch: int, seen: int = 10, *, epochs: int = 4) -> TrainingProgress:
    return TrainingProgress(epoch, epochs, seen, 10, 0.5, 0.75, 1234.5, 0.6, 0.7)


def test_the_time_left_goes_by_the_pace_since_a_training_was_first_seen() -> None:
    now = [100.0]
    pace = Pace(clock=lambda: now[0])
    assert pace.seconds_left("a", at(2, 5)) is None  # resumed in the middle of epoch 2: 3/8 are done
    now[0] += 6
    assert pace.seconds_left("a", at(2)) == pytest.approx(24)  # 1/8 took 6 s, 4/8 are left
    assert pace.seconds_left("b", at(1)) is None  # another training has a pace of its own
    now[0] += 24
    assert pace.seconds_left("a", at(4)) == pytest.approx(0)


@pytest.mark.parametrize("width", [40, 60, 72, 77, 78, 90, 97, 110, 138, 200])
def test_an_epoch_fits_any_width_and_says_no_less_than_that_allows(width: int) -> None:
    progress = TrainingProgress(7, 100, 10, 10, 0.51234, 0.75, 1234.5, 0.61234, 0.71234)
    line = epoch_line(progress, 7000, width)
    assert len(line) <= width
    assert "loss 0.512" in line and "0.612" in line
    assert ("1.9 h" in line) == (width >= 70)
    assert ("images/s" in line) == (width >= 97), line
    assert ("validation loss" in line) == (width >= 138)


def test_the_last_epoch_has_no_time_left() -> None:
    assert "left" not in epoch_line(at(4), 0.0) and "left" in epoch_line(at(3), 9.0)
    assert "≤" not in epoch_line(at(3), None, 80)


def test_durations_have_one_unit() -> None:
    assert [duration(seconds) for seconds in (0, 89, 91, 5399, 5401)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]
