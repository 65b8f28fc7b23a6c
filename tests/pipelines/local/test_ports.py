import socket
from collections.abc import Iterator

import pytest

from pipelines.errors import UserError
from pipelines.local import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_was_set_and_is_taken_is_an_error(taken):
    with pytest.raises(UserError, match=rf"spark\.port is set to {taken} and that port is taken"):
        ports.choose_port("spark.port", taken, 15002)


def test_a_port_that_was_set_and_is_free_is_used(taken):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert ports.choose_port("spark.port", free, taken) == free


def test_unset_takes_the_next_free_one(taken):
    chosen = ports.choose_port("spark.port", None, taken)
    assert taken < chosen <= taken + ports.SPAN
    with socket.socket() as server:
        server.bind(("127.0.0.1", chosen))


def test_answers_only_where_somebody_listens(taken):
    assert ports.answers(taken)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert not ports.answers(silent.getsockname()[1])


def test_a_port_taken_on_every_address_is_taken_on_loopback():
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert not ports.is_free(server.getsockname()[1])
