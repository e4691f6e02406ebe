"""eval.clock.noise: when the machine is called too noisy, and that the fixed workload is fixed."""

import numpy as np
import pytest

from core.errors import UserError
from eval.clock.noise import ROWS, WIDER, WIDTH, _session, noise, workload

QUIET = np.full(200, 1_000_000)


def test_a_quiet_machine_is_trusted() -> None:
    said = noise(QUIET)
    assert (said.samples, said.p50_ms, said.p95_ms, said.slowdown, said.drift, said.trusted) == (200, 1, 1, 1, 1, True)
    assert "quiet" in said.sentence


def test_interruptions_are_seen() -> None:
    disturbed = QUIET.copy()
    disturbed[::10] *= 5
    said = noise(disturbed)
    assert (said.slowdown, said.drift, said.trusted) == (5.0, 1.0, False)
    assert "5.00 times its median" in said.sentence
    assert "quiet one" in said.sentence


def test_rare_interruptions_are_forgiven() -> None:
    disturbed = QUIET.copy()
    disturbed[::50] *= 20
    assert noise(disturbed).trusted


@pytest.mark.parametrize(("last", "drift"), [(1_150_000, 1.15), (850_000, 0.85)])
def test_drift_is_seen_either_way(last: int, drift: float) -> None:
    drifting = QUIET.copy()
    drifting[150:] = last
    said = noise(drifting)
    assert said.drift == pytest.approx(drift)
    assert said.slowdown < 1.25
    assert not said.trusted
    assert f"{drift:.2f} times the time it began with" in said.sentence


def test_limits_themselves_are_fine() -> None:
    edge = QUIET.copy()
    edge[:10], edge[-40:-30] = 1_250_000, 1_250_000
    assert noise(edge).slowdown == pytest.approx(1.25, abs=0.02)
    assert noise(edge).trusted


def test_few_samples_prove_nothing() -> None:
    said = noise(QUIET[:99])
    assert not said.trusted
    assert "ran only 99 times" in said.sentence
    assert noise(QUIET[:100]).trusted


def test_no_sample_is_refused() -> None:
    with pytest.raises(UserError, match="at least one timed run"):
        noise(np.zeros(0, np.int64))


def test_the_workload_is_the_product_it_says_on_one_thread() -> None:
    session = _session()
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    given = np.random.default_rng(1).standard_normal((ROWS, WIDTH), dtype=np.float32)
    weight = np.random.default_rng(0).standard_normal((WIDTH, WIDER), dtype=np.float32)
    np.testing.assert_allclose(session.run(None, {"x": given})[0], given @ weight, atol=1e-3)


def test_a_run_takes_about_a_millisecond() -> None:
    run = workload()
    assert 0.1 < min(run() for _ in range(10)) / 1e6 < 20
