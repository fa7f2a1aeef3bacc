"""A server that says the same bytes to whoever calls, be they HTTP or not."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def run_wild(said: bytes, drop: bytes = b"") -> Iterator[str]:
    """Its URL, while the block runs. It reads what is asked, speaks and hangs up.

    With a `drop` it goes on, and says that for as long as it is listened to.
    """
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.01)

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError, OSError):
                    caller, _ = listening.accept()
                    with caller:
                        caller.settimeout(60)
                        caller.recv(65_536)
                        caller.sendall(said)
                        while drop and not ended.wait(0.02):
                            caller.sendall(drop)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
