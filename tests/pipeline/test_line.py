"""Works in line: in order, and none after one that failed."""

import pytest

from pipeline.line import Line


def test_works_are_done_in_order_in_a_thread_of_their_own() -> None:
    line, done = Line("line"), list[int]()

    futures = [line.submit(lambda n=n: done.append(n) or n * n) for n in range(50)]

    assert [future.result() for future in futures] == [n * n for n in range(50)]
    assert done == [*range(50)]
    line.close()


def test_after_a_work_that_failed_no_other_is_done() -> None:
    line, done = Line("line"), list[int]()

    failed = line.submit(lambda: 1 // 0)
    after = line.submit(lambda: done.append(1))

    for future in (failed, after):
        with pytest.raises(ZeroDivisionError):
            future.result()
    assert done == []
    line.close()
