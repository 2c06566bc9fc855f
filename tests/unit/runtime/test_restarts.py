from slipway.runtime.restarts import MAX_DEATHS, MAX_PAUSE_S, STABLE_S, Restarts


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_and_longer() -> None:
    restarts = Restarts()
    pauses = [restarts.pause(0) for _ in range(9)]
    assert pauses == [0, 1, 2, 4, 8, 16, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S]


def test_a_process_that_worked_for_long_is_restarted_at_once_again() -> None:
    restarts = Restarts()
    for _ in range(4):
        restarts.pause(1)
    assert restarts.pause(STABLE_S) == 0
    assert restarts.pause(1) == 1


def test_deaths_in_a_row_become_too_many() -> None:
    restarts = Restarts()
    for _ in range(MAX_DEATHS):
        restarts.pause(0)
        assert not restarts.too_many
    restarts.pause(0)
    assert restarts.too_many
