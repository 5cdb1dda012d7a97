"""Images per patient that go with difficulty: found, said, printed beside the score that counts each patient once."""

from dataclasses import replace

import numpy as np
import pytest

from counterstain.evaluation.arm_scores import score_arms
from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.degrees_of_freedom import carrying_units
from counterstain.evaluation.intervals import estimate, estimate_of, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.size_and_difficulty import SizeAndDifficulty, size_and_difficulty
from counterstain.evaluation.subgroups import subgroup_scores


def draw(rng: np.random.Generator, patients: int, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Images per patient, and how many are right: the log odds fall by `slope` for e times the images."""
    images = np.clip(np.round(np.exp(rng.normal(np.log(15), 0.8, patients))), 1, 120)
    odds = 2 - slope * (np.log(images) - np.log(15)) + rng.normal(0, 0.5, patients)
    return images, rng.binomial(images.astype(int), 1 / (1 + np.exp(-odds))).astype(float)


def table_of(images: np.ndarray, right: np.ndarray) -> Predictions:
    """Patients whose first images are right; classes alternate from image to image."""
    code = np.repeat(np.arange(len(images)), images.astype(int))
    place = np.arange(len(code)) - np.repeat(np.cumsum(images) - images, images.astype(int))
    label = np.arange(len(code)) % 2
    hit = place < right[code]
    score = np.where(hit == (label == 1), 0.9, 0.1)
    blank = ("",) * len(code)
    return Predictions(
        image=tuple(f"i{k}" for k in range(len(code))), patient=tuple(f"p{k:03}" for k in code), slide=blank,
        site=blank, label=label.astype(np.int64), prob=np.column_stack([1 - score, score]),
        classes=("benign", "malignant"),
    )  # fmt: skip


def test_by_hand() -> None:
    """Patients of 1, 1, 1, 2, 2 and 4 images; the shares 1, 1, 1, 1/2, 1/2, 1/4 fall by 1/4 to 1/2 a doubling.

    Over images 6 of 11; over patients (3 + 1 + 1/4) / 6. Log2 sizes 0 0 0 1 1 2 weighted by 1 1 1 2 2 4: mean 12/11,
    spread 3 · (12/11)² + 4 · (1/11)² + 4 · (10/11)² = 836/121. Weighted sum of size times right: 1 · 2 + 2 · 1 = 4,
    less 12/11 · 6: slope (4 - 72/11) / (836/121) = -308/836.
    """
    found = size_and_difficulty(np.array([1.0, 1, 1, 2, 2, 4]), np.array([1.0, 1, 1, 1, 1, 1]))
    assert found.over_images == pytest.approx(6 / 11)
    assert found.over_patients == pytest.approx(4.25 / 6)
    assert found.per_doubling == pytest.approx(-308 / 836)
    assert found.detected and 0 < found.p < 0.05
    # t-interval on the logit scale: error s / sqrt(6), 5 degrees of freedom.
    share = np.array([1, 1, 1, 0.5, 0.5, 0.25])
    half = 2.570582 * share.std(ddof=1) / np.sqrt(6) / (share.mean() * (1 - share.mean()))
    low, high = found.interval()
    assert np.log(high / (1 - high)) - np.log(low / (1 - low)) == pytest.approx(2 * half, 1e-6)
    assert low < found.interval(0.8)[0] < found.interval(0.8)[1] < high
    assert "80 % interval" in found.words(0.8)


def test_the_slope_is_that_of_a_weighted_regression() -> None:
    images, right = draw(np.random.default_rng(3), 40, 0.6)
    found = size_and_difficulty(images, right)
    slope = np.polyfit(np.log2(images), right / images, 1, w=np.sqrt(images))[0]
    assert found.per_doubling == pytest.approx(slope)


@pytest.mark.parametrize("images", [[5.0] * 20, [1.0] * 20, [3.0] * 4, [2.0, 9.0], [7.0], [0.0, 0.0]])
def test_nothing_is_found_where_nothing_can_be(images: list[float]) -> None:
    found = size_and_difficulty(np.array(images), np.floor(np.array(images) / 2))
    assert found.p == 1 and not found.detected and found.words() == ""


def test_all_right_shows_no_trend() -> None:
    found = size_and_difficulty(np.arange(1.0, 21), np.arange(1.0, 21))
    assert found.p == 1 and found.over_images == found.over_patients == 1 and np.isnan(found.interval()).all()


def test_the_order_of_patients_and_copies_of_images_change_nothing() -> None:
    images, right = draw(np.random.default_rng(5), 25, 0.5)
    found = size_and_difficulty(images, right)
    turned = size_and_difficulty(images[::-1], right[::-1])
    doubled = size_and_difficulty(2 * images, 2 * right)
    for other in (turned, doubled):
        assert other.p == pytest.approx(found.p) and other.per_doubling == pytest.approx(found.per_doubling)
        assert other.over_patients == pytest.approx(found.over_patients)
    mirrored = size_and_difficulty(images, images - right)
    assert mirrored.p == pytest.approx(found.p) and mirrored.per_doubling == pytest.approx(-found.per_doubling)


def test_more_right_than_images_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        size_and_difficulty(np.array([1.0, 2]), np.array([2.0, 1]))


def test_its_level_holds_without_a_trend_and_it_finds_a_steep_one() -> None:
    """600 studies of 20 patients: p < 0.1 in 10 % (± 1.2, one SE) without a trend, in most with a steep one."""
    rng = np.random.default_rng(8)
    rates = [np.mean([size_and_difficulty(*draw(rng, 20, slope)).detected for _ in range(600)]) for slope in (0, 0.95)]
    assert 0.06 < rates[0] < 0.14
    assert rates[1] > 0.7


def test_carrying_units_by_hand() -> None:
    """Changes -1, 1, -3, 3: squares sum to 20, fourth powers to 164."""
    assert carrying_units(np.array([4.0, 6, 2, 8])) == pytest.approx(400 / 164)
    assert carrying_units(np.array([0.0, 0, 0, 4])) == pytest.approx(12**2 / (3 + 81))
    assert carrying_units(np.full(7, 0.3)) == np.inf


def test_intervals_widen_only_where_size_goes_with_difficulty() -> None:
    rng = np.random.default_rng(11)
    key = ("accuracy", None)
    seen, wider = set(), 0
    for slope in (0.0, 1.2):
        for _ in range(12):
            table = table_of(*draw(rng, 20, slope))
            drawn = sample([table], units_of([table]), level="image")
            assert drawn.by_size is not None
            own = estimate_of(drawn, key)
            plain = estimate(drawn.values[key], drawn.left_out[key], drawn.df[key], metric="accuracy")
            seen.add(drawn.by_size.detected)
            if drawn.by_size.detected:
                assert own.df == pytest.approx(min(plain.df, carrying_units(drawn.left_out[key][0])))
                assert own.low <= plain.low and own.high >= plain.high
                wider += own.high - own.low > 1.01 * (plain.high - plain.low)
            else:
                assert own == plain
    assert seen == {True, False} and wider > 5


def test_the_patient_level_knows_no_sizes() -> None:
    images = np.array([2.0, 4, 8, 16, 32, 64])
    table = table_of(images, np.round(images * 0.5))
    one_class = Predictions(
        image=table.image, patient=table.patient, slide=table.slide, site=table.site,
        label=np.array([int(name[1:]) % 2 for name in table.patient]), prob=table.prob, classes=table.classes,
    )  # fmt: skip
    assert sample([one_class], units_of([one_class]), level="patient").by_size is None


def test_evaluate_and_compare_say_it_with_both_scores() -> None:
    images = np.array([2.0, 2, 3, 3, 4, 4, 8, 8, 16, 20, 40, 60])
    steep = table_of(images, np.round(images * (1.05 - 0.11 * np.log2(images))))
    flat = table_of(images, np.round(images * 0.8))
    record = score_arms({"steep": [steep], "flat": [flat]})
    own = record["arms"]["steep"]["size_and_difficulty"]
    accuracy = next(s for s in record["arms"]["steep"]["scores"] if (s["metric"], s["level"]) == ("accuracy", "image"))
    assert own["detected"] and own["per_doubling"] < 0
    assert own["over_images"] == pytest.approx(accuracy["value"])
    assert own["over_patients"] > own["over_images"] + 0.1
    said = [line for line in record["arms"]["steep"]["warnings"] if "more images" in line]
    assert len(said) == 1
    assert f"{own['over_images']:.3f}" in said[0] and f"{own['over_patients']:.3f}" in said[0]
    assert not record["arms"]["flat"]["size_and_difficulty"]["detected"]
    assert not any("more images" in line for line in record["arms"]["flat"]["warnings"])
    compared = compare_arms({"steep": [steep], "flat": [flat]}, primary="accuracy", claim="models")
    notes = [line for line in compared["warnings"] if "more images" in line]
    assert len(notes) == 1 and notes[0].startswith("steep: ")


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0004, "p < 0.001"), (0.00099, "p < 0.001"), (0.001, "p = 0.001"), (0.0456, "p = 0.046"), (0.0999, "p = 0.100")],
)
def test_the_words_hold_the_numbers(p: float, shown: str) -> None:
    found = SizeAndDifficulty(
        per_doubling=-0.0512, p=p, over_images=0.75, over_patients=0.8125, se_patients=0.02, patients=1200
    )
    low, high = found.interval(0.9)
    words = (
        f"patients with more images are predicted right less often (-0.051 for twice the images, {shown}): accuracy is "
        "0.750 with each image counting once and 0.812 with each patient counting once (1,200 patients, "
        f"90 % interval [{low:.3f}, {high:.3f}])"
    )
    assert found.words(0.9) == words
    more = replace(found, per_doubling=0.05, se_patients=float("nan"))
    assert "right more often (+0.050 for" in more.words() and more.words().endswith("(1,200 patients)")
    assert replace(found, p=0.1).words() == "" and not replace(found, p=0.1).detected
    assert found.to_json(0.9) == {
        "per_doubling": -0.0512, "p": p, "over_images": 0.75, "over_patients": 0.8125, "se_patients": 0.02,
        "patients": 1200, "low": low, "high": high, "confidence": 0.9, "detected": True,
    }  # fmt: skip


def test_an_even_share_or_no_error_has_no_interval() -> None:
    found = SizeAndDifficulty(per_doubling=0.0, p=1.0, over_images=0.5, over_patients=0.5, se_patients=0.0, patients=9)
    for own in (found, replace(found, over_patients=1.0, se_patients=0.1), replace(found, over_patients=0.0)):
        assert np.isnan(own.interval()).all()


def test_few_patients_or_patients_of_one_size_show_no_trend() -> None:
    four = size_and_difficulty(np.array([1.0, 2, 4, 8]), np.array([1.0, 2, 2, 2]))
    assert (four.per_doubling, four.p, four.patients) == (0.0, 1.0, 4)
    even = size_and_difficulty(np.full(6, 3.0), np.array([3.0, 2, 1, 0, 3, 3]))
    assert (even.per_doubling, even.p) == (0.0, 1.0)
    five = size_and_difficulty(np.array([1.0, 2, 4, 8, 16]), np.array([1.0, 2, 2, 2, 3]))
    assert five.per_doubling < 0 and five.p < 1
    one = size_and_difficulty(np.array([4.0, 0]), np.array([1.0, 0]))
    assert (one.over_images, one.over_patients, one.patients) == (0.25, 0.25, 1) and np.isnan(one.se_patients)
    none = size_and_difficulty(np.zeros(2), np.zeros(2))
    assert none.patients == 0 and np.isnan([none.over_images, none.over_patients, none.se_patients]).all()
    with pytest.raises(ValueError, match="do not fit together"):
        size_and_difficulty(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="do not fit together"):
        size_and_difficulty(np.ones(3), np.array([1.0, 1, 1.1]))
    with pytest.raises(ValueError, match="do not fit together"):
        size_and_difficulty(np.ones(3), np.array([1.0, 1, -0.1]))


@pytest.mark.parametrize(("interval", "said"), [("jackknife", True), ("bootstrap", False)])
def test_only_the_jackknifes_intervals_are_said_to_be_widened(interval: str, said: bool) -> None:
    images, right = draw(np.random.default_rng(1), 30, 1.5)
    record = score_arms({"a": [table_of(images, right)]}, interval=interval)["arms"]["a"]
    assert record["size_and_difficulty"]["detected"]
    (note,) = [line for line in record["warnings"] if "patients with more images" in line]
    assert note.endswith("; intervals at image level are widened, because few patients contribute most of the variance"
                         ) == said  # fmt: skip


def test_groups_have_the_widened_intervals_of_images_too() -> None:
    images, right = draw(np.random.default_rng(1), 40, 1.5)
    table = table_of(images, right)
    site = tuple("st"[int(name[1:]) % 2] for name in table.patient)
    found = subgroup_scores({"a": [table]}, by="site", groups=site)["arms"]["a"]["groups"]
    for row in found:
        kept = [k for k, name in enumerate(site) if name == row["group"]]
        own = replace(
            table, label=table.label[kept], prob=table.prob[kept],
            **{name: tuple(getattr(table, name)[k] for k in kept) for name in ("image", "patient", "slide", "site")},
        )  # fmt: skip
        expected = sample([own], units_of([own]), level="image")
        assert expected.by_size is not None and expected.by_size.detected
        for name in ("accuracy", "auroc"):
            score = estimate_of(expected, (name, None))
            assert row["scores"][name] == pytest.approx({"value": score.value, "low": score.low, "high": score.high})
