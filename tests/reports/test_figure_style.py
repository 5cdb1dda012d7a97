"""Figures for a document of one's own: width, letters, language, format; and what may not be asked for."""

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from counterstain.errors import InputError
from counterstain.reports.figure_settings import MM, FigureStyle, parse_width, style_of
from counterstain.reports.figure_style import PAGE, current_style, is_slim, styled
from counterstain.reports.figures import Row, confusion_figure, forest_figure, history_figure, split_figure

HISTORY = {name: [0.9, 0.5, 0.4] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}


def letters(figure: Figure) -> list[tuple[str, float]]:
    return [(text.get_text(), text.get_fontsize()) for text in figure.findobj(mpl.text.Text) if text.get_text()]


def drawings() -> list[Figure]:
    rows = [Row("given-16", 0.5, 0.4, 0.6, (0.45, 0.55)), Row("a long name of an arm, modified-32", 0.1, -0.2, 0.4)]
    return [
        forest_figure(rows, title="t", axis_label="difference", reference=0.0),
        history_figure([HISTORY], [2], title="t"),
        confusion_figure([[1.5, 2], [3, 4]], ("a", "b"), title="t"),
        confusion_figure([[5] * 9] * 9, [f"class {k}" for k in range(9)], title="t"),
        split_figure({"train": {"a": 1200, "b": 3}}, ["a", "b"], title="t"),
    ]


def test_width_and_letters_are_those_that_were_asked_for() -> None:
    with styled(FigureStyle(width_mm=85, font_pt=7)):
        for figure in drawings():
            assert figure.get_figwidth() * MM == pytest.approx(85, abs=0.5)
            sizes = {size for _, size in letters(figure)}
            assert min(sizes) == 7 and max(sizes) <= 7 * 13 / 9 + 0.01
            assert {label.get_fontsize() for axis in figure.axes for label in axis.get_xticklabels()} == {7}
    assert current_style() == PAGE


def test_in_a_slim_figure_nothing_is_cut() -> None:
    for style in (FigureStyle(width_mm=85, font_pt=7), FigureStyle(width_mm=85)):
        with styled(style):
            for figure in drawings():
                sheet = FigureCanvasAgg(figure)
                sheet.draw()
                box = figure.get_tightbbox(sheet.get_renderer())  # inches, of all that is drawn
                assert box.x0 >= -0.02 and box.x1 <= figure.get_figwidth() + 0.02, letters(figure)[0]


@pytest.mark.parametrize("name", ["given-16", "modified-200 − modified-32", "an arm with a long name − modified-32"])
def test_names_and_numbers_of_a_slim_forest_do_not_meet(name: str) -> None:
    with styled(FigureStyle(width_mm=85)):
        figure = forest_figure([Row(name, -0.038, -0.152, 0.076)] * 3, title="t", axis_label="x", reference=0.0)
        sheet = FigureCanvasAgg(figure)
        sheet.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])
        assert name in " ".join(text.get_text() for text in figure.axes[0].texts)


def test_panels_go_under_each_other_where_there_is_no_room() -> None:
    def tops(figure: Figure) -> set[float]:
        return {round(axis.get_subplotspec().get_position(figure).y1, 3) for axis in figure.axes}

    assert len(tops(history_figure([HISTORY], [2], title="t"))) == 1
    with styled(FigureStyle(width_mm=85)):
        assert len(tops(history_figure([HISTORY], [2], title="t"))) == 2
    with styled(FigureStyle(width_mm=100, font_pt=5)):  # as many letters to the line as on the page
        assert not is_slim(100 / MM)


def test_german_words_and_numerals() -> None:
    with styled(FigureStyle(language="de")):
        forest, history, confusion, _, split = drawings()
    assert "+0,100  [−0,200; +0,400]" in dict(letters(forest))
    assert {"Epoche", "Verlust", "Genauigkeit", "Validierung", "beste Epoche", "0,8"} <= set(dict(letters(history)))
    assert {"vorhergesagt", "wahr", "1,5"} <= set(dict(letters(confusion)))
    assert {"Bilder", "Training", "1.203"} <= set(dict(letters(split)))


@pytest.mark.parametrize(("text", "mm"), [("85mm", 85), ("85", 85), (85, 85), ("8.5 cm", 85), ("2in", 50.8)])
def test_widths(text: str | int, mm: float) -> None:
    assert parse_width(text) == pytest.approx(mm)


def test_settings_that_cannot_be_drawn_are_refused_by_name() -> None:
    for given, words in (
        ({"width": "85pt"}, "width of the figures is '85pt'"),
        ({"width": 20}, "width of the figures is 20 mm; 60 to 400"),
        ({"font": 50}, "font of the figures is 50 pt; 4 to 24"),
        ({"language": "fr"}, "language of the figures is 'fr'"),
    ):
        with pytest.raises(InputError, match=words):
            style_of("pdf", **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="format of the figures is 'eps'"):
        style_of("eps")
    with pytest.raises(InputError, match="width is for figures of a document; name their format"):
        style_of(None, width="85mm")
    assert style_of(None) is None
