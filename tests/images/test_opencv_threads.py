"""OpenCV has one thread while we share work out, and its own number afterwards, however many are inside at once."""

import threading

import cv2
import pytest

from counterstain.images.opencv_threads import one_opencv_thread


def test_the_last_one_out_puts_back_what_the_first_one_found() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one_opencv_thread():
            entered.set()
            leave.wait(60)

    try:
        with one_opencv_thread():
            assert cv2.getNumThreads() == 1
            other = threading.Thread(target=stay)
            other.start()
            assert entered.wait(60)
        assert cv2.getNumThreads() == 1  # the other one is still inside
        leave.set()
        other.join()
        assert cv2.getNumThreads() == 2
        with pytest.raises(KeyError), one_opencv_thread():
            raise KeyError
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
