"""Ports of the loopback: whether one answers, and which one a service takes."""

import socket

from pipelines.errors import UserError

LOOPBACK = "127.0.0.1"
SPAN = 200


def answers(port: int, timeout_s: float = 0.5) -> bool:
    """Whether somebody listens on this port."""
    with socket.socket() as client:
        client.settimeout(timeout_s)
        return client.connect_ex((LOOPBACK, port)) == 0


def is_free(port: int) -> bool:
    """Whether a server could bind this port now."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_port(key: str, wanted: int | None, default: int) -> int:
    """The port that somebody set, else the first free one from ``default`` on. Raises UserError where a set one is taken."""
    if wanted is None:
        return next_free(key, default)
    if not is_free(wanted):
        raise UserError(f"{key} is set to {wanted} and that port is taken; free it, set another, or unset {key} for the next free one")
    return wanted


def next_free(key: str, first: int) -> int:
    for port in range(first, first + SPAN):
        if is_free(port):
            return port
    raise UserError(f"found no free port from {first} to {first + SPAN - 1}; set {key} to a free one")
