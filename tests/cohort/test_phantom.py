"""The phantom: pure, reproducible, and with a class that shows in the tissue but not in the colour."""

import numpy as np

from counterstain.cohort.phantom import Phantom, draw_tile, write_phantom


def test_a_tile_is_the_same_however_often_and_in_whatever_order_it_is_drawn():
    phantom = Phantom(patients=4, tile_px=96)
    first = draw_tile(phantom, 1, 2)
    draw_tile(phantom, 3, 0)
    again = draw_tile(phantom, 1, 2)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.nuclei, again.nuclei)


def test_a_written_cohort_has_the_same_bytes_with_one_worker_and_with_two(tmp_path):
    phantom = Phantom(patients=4, tiles_per_patient=2, tile_px=64)
    one = write_phantom(phantom, tmp_path / "one", workers=1)
    two = write_phantom(phantom, tmp_path / "two", workers=2)
    assert one.image == two.image
    for name in (*one.image, "cohort.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
