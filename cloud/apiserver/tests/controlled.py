"""A core with controllers that work when they are told to, and no shell."""

from collections.abc import Callable
from datetime import timedelta

from cloud.apiserver.controllers import Controller
from cloud.apiserver.objects import Objects
from cloud.apiserver.tests.core import Core

STEPS_LIMIT = 1000


class Controlled(Core):
    """A server's core and some of its controllers."""

    def __init__(self, *makers: Callable[[Objects], Controller]) -> None:
        super().__init__()
        self._makers = makers
        self.controllers: list[Controller] = []
        self.restart()

    def restart(self) -> None:
        """Start the controllers anew, as after a restart: they know what the objects say, and no more."""
        self.objects.observers.clear()
        self.controllers = [make(self.objects) for make in self._makers]
        for controller in self.controllers:
            controller.load()
            self.objects.observers.append(controller.observe)

    def step(self) -> bool:
        """Let each controller work once: whether one had something to do."""
        busy = False
        for controller in self.controllers:
            due = controller.due()
            if due is not None and due <= self.time:
                busy = True
                transaction = controller.work()
                if transaction is not None:
                    self.objects.committed(transaction)
        return busy

    def settle(self) -> None:
        """Let them work until nothing is due."""
        for _ in range(STEPS_LIMIT):
            if not self.step():
                return
        raise AssertionError("the controllers never come to rest")

    def wait(self, seconds: int) -> None:
        """Let time pass, a second at a time, and the controllers work."""
        for _ in range(seconds):
            self.time += timedelta(seconds=1)
            self.settle()
