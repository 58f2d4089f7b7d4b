"""A program that a test starts, kills, starts again, and never leaves behind."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mpj_operator.shell.forkserver import die_with_parent

GRACE_SECONDS: Final = 5.0
"""An API server may take fifteen seconds to obey SIGTERM; no test waits so long."""


@dataclass
class Supervised:
    """One program. The kernel kills it when the process that started it dies, however it dies."""

    words: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.words[0]} is not started")
        return self.process.pid

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it hang, SIGCONT lets it go on."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it as kill -9 does; return when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        self.ask()
        self.await_end()

    def ask(self) -> None:
        """Ask it to end; ``await_end`` waits for that."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Return when it is gone, killed if need be."""
        if self.process is None:
            return
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def ended(self, seconds: float = 30) -> int:
        """Return its exit code once it has ended by itself."""
        if self.process is None:
            raise RuntimeError(f"{self.words[0]} is not started")
        return self.process.wait(seconds)

    def last_words(self, size: int = 3000) -> str:
        """Return the end of its log, for an error's message."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""
