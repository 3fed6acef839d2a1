"""Limits and concurrency, on a clock that the tests turn."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.embed.limits import PERIOD, Allowance, Window, duration
from pgrecall.embed.throttle import COURTESY, START, Throttle, Ticket, Wait, shared_throttle
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow


@dataclass
class Simulation:
    """Requests that wait at a throttle, and a server that takes ``seconds`` for each."""

    seconds: float = 1.0
    now: float = 0.0
    #: When each request was admitted, and its tokens, in order.
    sent: list[tuple[float, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def run(self, throttle: Throttle, requests: list[tuple[str, int, bool, float]]) -> None:
        """Each request: name, tokens, urgent, when it comes."""
        events: list[tuple[float, int, str]] = []
        flows: dict[int, Flow[Ticket]] = {}
        waits: dict[int, Wait] = {}
        tickets: dict[int, Ticket] = {}
        for number, (_, _, _, when) in enumerate(requests):
            heapq.heappush(events, (when, number, "come"))

        def advance(number: int) -> None:
            try:
                step = next(flows[number])
            except StopIteration as done:
                waits.pop(number, None)
                tickets[number] = done.value
                self.sent.append((self.now, requests[number][1]))
                self.names.append(requests[number][0])
                heapq.heappush(events, (self.now + self.seconds, number, "answered"))
                return
            assert isinstance(step, Wait)
            waits[number] = step
            if step.seconds is not None:
                heapq.heappush(events, (self.now + max(step.seconds, 1e-6), number, "look"))

        while events:
            self.now, number, what = heapq.heappop(events)
            if what == "come":
                _, tokens, urgent, _ = requests[number]
                flows[number] = throttle.admit(tokens, urgent=urgent)
                advance(number)
            elif what == "answered":
                throttle.leave(tickets[number], seconds=self.seconds, headers=self.headers)
            elif number in waits:
                advance(number)
            while rung := [n for n, wait in waits.items() if wait.bell.done()]:
                for waiting in rung:
                    advance(waiting)


def most_in_a_minute(sent: list[tuple[float, int]]) -> tuple[int, int]:
    """The largest numbers of requests and of tokens in any 60 s."""
    requests = tokens = 0
    for start, _ in sent:
        inside = [amount for when, amount in sent if start <= when < start + 60]
        requests, tokens = max(requests, len(inside)), max(tokens, sum(inside))
    return requests, tokens


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(400, 2_000),
)
def test_limits_are_kept_in_every_minute_and_nobody_is_left(
    sizes: list[int], rpm: int, tpm: int
) -> None:
    world = Simulation(seconds=0.5)
    throttle = Throttle(most=8, rpm=rpm, tpm=tpm, clock=world.clock)
    world.run(throttle, [(str(n), size, False, 0.0) for n, size in enumerate(sizes)])
    requests, tokens = most_in_a_minute(world.sent)
    assert requests <= rpm
    assert tokens <= tpm
    assert world.names == [str(n) for n in range(len(sizes))]


def test_limits_are_used_up() -> None:
    world = Simulation(seconds=0.1)
    throttle = Throttle(most=8, rpm=100, clock=world.clock)
    world.run(throttle, [("d", 10, False, 0.0)] * 400)
    assert world.now <= 3 * PERIOD + 10


def test_a_large_request_is_not_starved_by_small_ones() -> None:
    world = Simulation(seconds=0.1)
    throttle = Throttle(most=4, tpm=1_000, clock=world.clock)
    small = [("small", 200, False, float(n)) for n in range(100)]
    world.run(throttle, [*small, ("large", 1_000, False, 2.5)])
    when = dict(zip(world.names, world.sent, strict=True))["large"][0]
    assert when <= 2.5 + 2 * PERIOD


def test_a_question_goes_first_but_documents_wait_no_longer_than_courtesy_asks() -> None:
    world = Simulation(seconds=0.1)
    throttle = Throttle(most=1, rpm=10, clock=world.clock)
    documents = [(f"d{n}", 1, False, 0.0) for n in range(12)]
    world.run(throttle, [*documents, ("q", 1, True, 5.0)])
    assert world.names.index("q") == 10  # with the first room there was

    world = Simulation(seconds=1.0)
    throttle = Throttle(most=1, clock=world.clock)
    questions = [("q", 1, True, n * 0.5) for n in range(260)]
    world.run(throttle, [("q", 1, True, 0.0), ("d", 1, False, 0.1), *questions])
    sent = world.sent[world.names.index("d")][0]
    assert COURTESY <= sent <= COURTESY + 5


def test_more_tokens_than_a_minute_has_go_out_alone() -> None:
    window = Window(100)
    assert window.wait(500, 0.0) == 0
    window.take(500, 0.0)
    assert window.wait(1, 0.0) == PERIOD
    assert window.wait(1, PERIOD) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1.5", 1.5),
        ("1h2m3.5s", 3723.5),
        ("", None),
        ("soon", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


def left(requests: int, reset: str) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": str(requests),
        "x-ratelimit-reset-requests": reset,
    }


def test_what_the_server_says_is_left_comes_back_evenly() -> None:
    allowance = Allowance("requests")
    assert allowance.wait(1, 0.0) == 0
    allowance.learn(left(0, "1m0s"), 0, now=10.0)
    assert allowance.wait(1, 10.0) == pytest.approx(1.0)
    assert allowance.wait(30, 10.0) == pytest.approx(30.0)
    assert allowance.wait(1, 11.1) == 0
    assert allowance.wait(1, 70.0) == 0
    allowance.learn(left(5, "55s"), 5, now=100.0)
    assert allowance.wait(1, 100.0) > 0, "five are under way"
    allowance.learn({"x-ratelimit-limit-requests": "lots"}, 0, now=100.0)


def test_concurrency_grows_while_answers_are_quick() -> None:
    world = Simulation(seconds=0.1)
    throttle = Throttle(most=16, clock=world.clock)
    assert throttle.concurrency == START
    world.run(throttle, [("d", 10, False, 0.0)] * 400)
    assert throttle.concurrency == 16


def test_concurrency_doubles_until_the_first_trouble() -> None:
    world = Simulation()
    throttle = Throttle(most=64, clock=world.clock)

    def answer_all() -> int:
        world.now += 1.0
        for ticket in [admitted(throttle) for _ in range(throttle.concurrency)]:
            throttle.leave(ticket, seconds=0.1)
        return throttle.concurrency

    assert [answer_all() for _ in range(3)] == [8, 16, 32]
    world.now += 1.0
    throttle.overloaded(admitted(throttle), None)
    assert throttle.concurrency == 16
    assert [answer_all() for _ in range(3)] == [16, 16, 16]


def admitted(throttle: Throttle, tokens: int = 10) -> Ticket:
    try:
        next(throttle.admit(tokens))
    except StopIteration as done:
        ticket: Ticket = done.value
        return ticket
    raise AssertionError("it has to wait")


def test_concurrency_is_halved_once_for_all_that_were_refused_together() -> None:
    world = Simulation()
    throttle = Throttle(most=16, clock=world.clock)
    tickets = [admitted(throttle) for _ in range(4)]
    world.now = 1.0
    for ticket in tickets:
        throttle.overloaded(ticket, None)
    assert throttle.concurrency == 2
    world.now = 2.0
    throttle.overloaded(admitted(throttle), None)
    assert throttle.concurrency == 1
    world.now = 3.0
    throttle.overloaded(admitted(throttle), None)
    assert throttle.concurrency == 1


def test_slow_answers_reduce_it_until_they_are_what_the_server_takes_alone() -> None:
    world = Simulation()
    throttle = Throttle(most=8, clock=world.clock)
    throttle.leave(admitted(throttle), seconds=0.2)
    for now in (1.0, 2.0, 3.0, 4.0):
        world.now = now
        tickets = [admitted(throttle) for _ in range(throttle.concurrency)]
        world.now += 0.9
        for ticket in tickets[1:]:
            throttle.leave(ticket, seconds=5.0)
        throttle.leave(tickets[0])
    assert throttle.concurrency == 1
    for _ in range(8):
        world.now += 10.0
        for ticket in [admitted(throttle) for _ in range(throttle.concurrency)]:
            throttle.leave(ticket, seconds=5.0)
    assert throttle.concurrency > 2


def test_a_pause_that_a_server_asks_for_holds_all() -> None:
    world = Simulation()
    throttle = Throttle(most=4, clock=world.clock)
    throttle.overloaded(admitted(throttle), 20.0)
    step = next(throttle.admit(10))
    assert isinstance(step, Wait)
    assert step.seconds == 20.0
    with pytest.raises(EmbeddingError, match="no room before the deadline"):
        next(throttle.admit(10, urgent=True, until=5.0))


def test_whoever_gives_up_leaves_the_line() -> None:
    world = Simulation()
    throttle = Throttle(most=1, clock=world.clock)
    ticket = admitted(throttle)
    first, second = throttle.admit(1), throttle.admit(1)
    next(first)
    step = next(second)
    first.close()
    throttle.leave(ticket)
    assert isinstance(step, Wait)
    assert step.bell.done()
    with pytest.raises(StopIteration):
        next(second)


def test_a_process_has_one_throttle_for_a_key_with_the_lowest_limits() -> None:
    first = shared_throttle("key", most=8, rpm=100)
    second = shared_throttle("key", most=4, rpm=50, tpm=10)
    assert first is second
    assert (first.most, first.concurrency) == (4, 4)
    assert admitted(first, 10)
    step = next(first.admit(1))
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(PERIOD, abs=1)
    assert shared_throttle("other", most=1) is not first
