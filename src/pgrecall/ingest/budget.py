"""What an ingestion may spend: list prices, and limits that it never passes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from pgrecall.embed.models import known_model
from pgrecall.errors import InvalidArgument
from pgrecall.store.prepared import Prepared

#: Vendors whose models run on this machine, whichever they are.
HERE = ("static", "sentence-transformers")
#: Prices are for so many tokens.
PRICED = 1_000_000


def list_price(embedder: str) -> float | None:
    """US dollars for a million tokens: 0 on one's own machine, None if no price is known."""
    model = known_model(embedder)
    if model is not None:
        return model.price or 0.0
    return 0.0 if embedder.partition(":")[0] in HERE else None


@dataclass(slots=True)
class Spending:
    """What was taken so far, by all that share a budget."""

    tokens: int = 0
    #: By price of a million.
    priced: dict[float, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def cost(self, more: dict[float, int]) -> float:
        """US dollars with so many more tokens; in one piece for each price, as a plan does, so that no sum of
        rounded parts exceeds it.
        """
        prices = self.priced.keys() | more.keys()
        return sum((self.priced.get(p, 0) + more.get(p, 0)) * p / PRICED for p in prices)


@dataclass(slots=True, kw_only=True)
class Budget:
    """A limit on what is embedded. Tokens are taken before they are asked for, whoever asks first.

    What was taken for a request that failed stays taken: nobody knows whether the provider charges it.
    Only what was never asked for is given back (``Taken``).
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    #: US dollars for a million tokens; None if no price is known.
    price: float | None = None
    spending: Spending = field(default_factory=Spending)

    @classmethod
    def of(cls, embedder: str, max_tokens: int | None, max_cost: float | None) -> Budget:
        """The budget of one run. Raises InvalidArgument for limits that cannot be kept."""
        for name, limit in (("max_tokens", max_tokens), ("max_cost", max_cost)):
            if limit is not None and not limit >= 0:
                raise InvalidArgument(f"{name} is 0 or more, not {limit!r}.")
        price = list_price(embedder)
        if max_cost is not None and price is None:
            raise InvalidArgument(
                f"No list price of {embedder} is known, so its cost cannot be limited: limit the tokens "
                "(max_tokens, --max-tokens)."
            )
        return cls(max_tokens=max_tokens, max_cost=max_cost, price=price)

    def cost(self, tokens: int) -> float | None:
        """US dollars for so many tokens; None if no price is known."""
        return None if self.price is None else tokens * self.price / PRICED

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_tokens is not None or self.max_cost is not None

    @property
    def ceiling(self) -> int | None:
        """Both limits as one of tokens; None if there is none."""
        limits = [] if self.max_tokens is None else [self.max_tokens]
        if self.max_cost is not None and self.price:
            most = int(self.max_cost * PRICED / self.price) + 1
            while most * self.price / PRICED > self.max_cost:
                most -= 1
            limits.append(most)
        return min(limits, default=None)

    def shared(self, embedder: str) -> Budget:
        """The same limits and the same spending, at the price of another embedder."""
        return replace(self, price=list_price(embedder))

    def take(self, tokens: int) -> bool:
        """Whether so many more tokens are within the limits; if so, they are taken."""
        spending = self.spending
        more = {self.price: tokens} if self.price else {}
        with spending.lock:
            # What costs nothing is always within them; what has no price never within one of cost.
            if tokens and (
                (self.max_tokens is not None and spending.tokens + tokens > self.max_tokens)
                or (
                    self.max_cost is not None
                    and (self.price is None or spending.cost(more) > self.max_cost)
                )
            ):
                return False
            self._add(tokens)
            return True

    def give_back(self, tokens: int) -> None:
        """They were not sent."""
        with self.spending.lock:
            self._add(-tokens)

    def _add(self, tokens: int) -> None:
        self.spending.tokens += tokens
        if self.price:
            priced = self.spending.priced
            priced[self.price] = priced.get(self.price, 0) + tokens


@dataclass(slots=True)
class _Take:
    """Tokens for one text."""

    tokens: int
    #: Documents under way that rely on it.
    users: int = 0
    #: Whether the text was asked for.
    asked: bool = False


class Taken:
    """What a run has taken tokens for and not got yet: once for each text, whichever document asks for it.

    Tokens for a text that nobody has asked for when the last of its documents is through are given back:
    another run brought it, or it was refused before it was sent. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._takes: dict[bytes, _Take] = {}
        self._lock = Lock()

    def afford(
        self, budget: Budget, group: Sequence[Prepared], known: Container[bytes]
    ) -> tuple[list[Prepared], list[int]]:
        """The documents that the budget has tokens for, which are taken; what the others lack.

        Texts that are ``known``, or taken for already, cost nothing.
        """
        chosen, lacking = [], []
        with self._lock:
            for item in group:
                texts = unpaid([item], known)
                tokens = sum(count for key, count in texts.items() if key not in self._takes)
                if not budget.take(tokens):
                    lacking.append(tokens)
                    continue
                chosen.append(item)
                for key, count in texts.items():
                    self._takes.setdefault(key, _Take(count)).users += 1
        return chosen, lacking

    def asked(self, keys: Iterable[bytes]) -> None:
        """These texts were sent."""
        with self._lock:
            for key in keys:
                if key in self._takes:
                    self._takes[key].asked = True

    def release(self, budget: Budget, group: Sequence[Prepared], known: Container[bytes]) -> None:
        """The documents, which were afforded with the same arguments, are through."""
        unasked = 0
        with self._lock:
            for item in group:
                for key in unpaid([item], known):
                    take = self._takes[key]
                    take.users -= 1
                    if not take.users:
                        unasked += 0 if take.asked else take.tokens
                        del self._takes[key]
        budget.give_back(unasked)


def unpaid(group: Sequence[Prepared], known: Container[bytes]) -> dict[bytes, int]:
    """The tokens of the documents' texts that are not ``known``, by hash."""
    return {
        key: chunk.tokens
        for item in group
        for key, chunk in zip(item.hashes, item.chunks, strict=True)
        if key not in known
    }
