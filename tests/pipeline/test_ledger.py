"""The ledger: progress, and who was at work when an actor died."""

from pipeline.ledger import Ledger
from pipeline.progress import Tally


def test_progress_adds_up_on_what_was_done_before() -> None:
    ledger = Ledger(Tally(3, 100))

    ledger.add(Tally(object_frames=3))
    ledger.add(Tally(tasks=2))

    assert ledger.read() == Tally(5, 103)


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
