from slipway.runtime.worker.pulse import HUNG_LOOKS, MAX_PASS_S, QUIET_LOOKS, Pulse


def silent(looks: int) -> Pulse:
    pulse = Pulse()
    for _ in range(looks + 1):  # the first look sees the beat of the start
        pulse.look()
    return pulse


def test_a_worker_that_sends_is_well_however_long_it_takes_for_a_step() -> None:
    pulse = Pulse()
    for second in range(100):
        pulse.beat()
        pulse.in_pass(second)
        pulse.look()
        assert pulse.trouble is None
        assert not pulse.hung


def test_silence_is_told_first_and_hung_much_later() -> None:
    assert silent(QUIET_LOOKS - 1).trouble is None
    assert silent(QUIET_LOOKS).trouble == f"has been silent for {QUIET_LOOKS} s"
    assert not silent(HUNG_LOOKS - 1).hung
    assert silent(HUNG_LOOKS).hung


def test_one_sign_of_life_ends_the_trouble() -> None:
    pulse = silent(HUNG_LOOKS - 1)
    pulse.beat()
    pulse.look()
    assert pulse.trouble is None


def test_a_pass_that_never_ends_is_hung_though_the_process_sends() -> None:
    pulse = Pulse()
    pulse.in_pass(MAX_PASS_S + 1)
    pulse.look()
    assert pulse.hung
    assert "forward pass" in (pulse.trouble or "")
