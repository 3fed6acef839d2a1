"""What an ingestion may spend: list prices, and limits that it never passes."""

from __future__ import annotations

from collections.abc import Container, Sequence
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
    cost: float = 0.0
    lock: Lock = field(default_factory=Lock)


@dataclass(slots=True, kw_only=True)
class Budget:
    """A limit on what is embedded. Tokens are taken before they are asked for, whoever asks first.

    What was taken for a request that failed stays taken: nobody knows whether the provider charges it.
    Only a text that was refused before it was sent is given back.
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
            limits.append(int(self.max_cost * PRICED / self.price))
        return min(limits, default=None)

    def shared(self, embedder: str) -> Budget:
        """The same limits and the same spending, at the price of another embedder."""
        return replace(self, price=list_price(embedder))

    def take(self, tokens: int) -> bool:
        """Whether so many more tokens are within the limits; if so, they are taken."""
        spending, price = self.spending, self.cost(tokens)
        with spending.lock:
            whole, cost = spending.tokens + tokens, spending.cost + (price or 0.0)
            # What costs nothing is always within them; what has no price never within one of cost.
            if tokens and (
                (self.max_tokens is not None and whole > self.max_tokens)
                or (self.max_cost is not None and (price is None or cost > self.max_cost))
            ):
                return False
            spending.tokens, spending.cost = whole, cost
            return True

    def give_back(self, tokens: int) -> None:
        """They were not sent."""
        with self.spending.lock:
            self.spending.tokens -= tokens
            self.spending.cost -= self.cost(tokens) or 0.0


def affordable(
    budget: Budget, group: Sequence[Prepared], known: Container[bytes]
) -> tuple[list[Prepared], list[int]]:
    """The documents of the group that the budget has tokens for, which are taken; what the others lack.

    Texts that are ``known``, or stand in the group before, cost nothing.
    """
    chosen, lacking = [], []
    met: set[bytes] = set()
    for item in group:
        new = {key: tokens for key, tokens in unpaid([item], known).items() if key not in met}
        tokens = sum(new.values())
        if budget.take(tokens):
            chosen.append(item)
            met.update(new)
        else:
            lacking.append(tokens)
    return chosen, lacking


def unpaid(group: Sequence[Prepared], known: Container[bytes]) -> dict[bytes, int]:
    """The tokens of the documents' texts that are not ``known``, by hash."""
    return {
        key: chunk.tokens
        for item in group
        for key, chunk in zip(item.hashes, item.chunks, strict=True)
        if key not in known
    }
