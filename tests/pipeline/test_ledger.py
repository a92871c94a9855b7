"""The ledger: progress, and who was at work when an actor died."""

from pipeline.ledger import Ledger
from pipeline.progress import Tally


def test_progress_adds_up_on_what_was_done_before() -> None:
    ledger = Ledger(Tally(3, 100))

    ledger.tell({1: 1, 2: 1}, tracked=2)
    ledger.tell({1: 2}, tracked=1)
    ledger.finish({1: 2, 4: 0})

    assert ledger.read() == Tally(tasks=5, object_frames=103, tracked=3)


def test_what_is_done_again_counts_once_but_as_work() -> None:
    ledger = Ledger(Tally())
    ledger.claim([1], "here")
    ledger.tell({1: 40}, tracked=40)

    ledger.claim([1], "here")  # from the start
    ledger.tell({1: 10}, tracked=10)
    assert ledger.read() == Tally(object_frames=10, tracked=50, running=1)

    ledger.claim([1], "here")  # from a saved bank
    ledger.tell({1: 41}, tracked=1)
    for _ in range(2):  # a block can be lost with its node, and is made once more
        ledger.finish({1: 60})
    assert ledger.read() == Tally(tasks=1, object_frames=60, tracked=51)


def test_a_claim_that_stays_open_is_a_death_of_all_tasks_in_hand() -> None:
    ledger = Ledger(Tally())

    ledger.claim([1, 2], "here")
    ledger.claim([2], "here")

    assert ledger.deaths([1, 2, 3]) == [1, 2, 0]


def test_a_released_task_is_no_suspect() -> None:
    ledger = Ledger(Tally())

    ledger.claim([1, 2], "here")
    ledger.release([2])

    assert ledger.deaths([1, 2]) == [1, 0]


def test_a_lost_node_is_nobodys_fault() -> None:
    ledger = Ledger(Tally())

    ledger.claim([1], "spot")
    ledger.claim([1], "here")

    assert ledger.deaths([1], lost_nodes={"spot"}) == [1]


def test_nodes_that_are_lost_again_and_again_over_one_task_are_no_accident() -> None:
    ledger = Ledger(Tally())
    for node in "abcdef":
        ledger.claim([1], node)

    assert ledger.deaths([1], lost_nodes={*"abcdef"}) == [3]


def test_a_task_that_gets_further_every_time_is_never_struck_out_but_one_that_stalls_is() -> None:
    ledger = Ledger(Tally())

    for _ in range(5):
        ledger.claim([1], "here")
        ledger.forgive(1)
    assert ledger.deaths([1]) == [1]

    ledger.claim([1], "here")
    ledger.claim([1], "here")
    assert ledger.deaths([1]) == [3]
