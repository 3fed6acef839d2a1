"""Checking a database and mending it: the server, what stands around documents, and every document.

A flow that composes ``store`` and ``ingest``; what is broken is made again from the stored text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from pgrecall import errors
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.embed.declared import GIVEN
from pgrecall.embed.offline import own_tokenizer
from pgrecall.flow import Flow, compute
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.embedding import embed
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.ingest.stages import write
from pgrecall.load.markup import markup_of
from pgrecall.store import collections, environment, identity, structure, verify
from pgrecall.store.collections import Generation
from pgrecall.store.environment import Check
from pgrecall.store.faults import Checked, Count
from pgrecall.store.prepared import Prepared
from pgrecall.store.structure import Defect

#: Problems that are described; those beyond are counted.
LISTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is not as it should be, and what became of it."""

    #: What is wrong: "content", "vector", "coverage", "orphans", "index" ...
    kind: str
    #: A collection and the uri of a document in it, or an object of the database.
    subject: str
    detail: str
    repaired: bool = False


@dataclass(slots=True, kw_only=True)
class Diagnosis:
    """What ``doctor`` and ``verify`` found."""

    checks: list[Check] = field(default_factory=list)
    #: The first thousand.
    problems: list[Problem] = field(default_factory=list)
    #: How many problems there were, and how many of them are repaired.
    found: int = 0
    repaired: int = 0
    #: What was verified.
    documents: int = 0
    chunks: int = 0
    #: What the repair asked of embedders.
    embedded: int = 0

    @property
    def healthy(self) -> bool:
        """Whether nothing is left to be done; warnings do not count."""
        return self.found == self.repaired and all(c.state != "failed" for c in self.checks)

    def add(self, problem: Problem) -> None:
        """Count a problem, and describe it if it is one of the first."""
        self.found += 1
        self.repaired += problem.repaired
        if len(self.problems) < LISTED:
            self.problems.append(problem)


def doctor(embedders: Sequence[Embedder] = ()) -> Flow[Diagnosis]:
    """Look at the server, at what is installed here, and at what must stand around documents."""
    diagnosis = Diagnosis(checks=(yield from environment.checks()))
    diagnosis.checks += list(_extras())
    known = {item.name: item for item in embedders}
    for name in sorted({g.embedder for g in (yield from collections.generations())}):
        _, reason = _opened(name, known)
        state = Check(
            name=f"embedder {name}", state="warning" if reason else "ok", detail=reason or ""
        )
        diagnosis.checks.append(state)
    defects = yield from structure.defects()
    for defect in defects + (yield from structure.index_defects()):
        diagnosis.add(_described(defect, repaired=False))
    return diagnosis


def check(*, repair: bool = False, embedders: Sequence[Embedder] = ()) -> Flow[Diagnosis]:
    """Verify the whole database; with ``repair`` mend what can be made again from the stored texts."""
    diagnosis = Diagnosis()
    for defect in (yield from structure.defects()):
        diagnosis.add(
            (yield from _mended(defect)) if repair else _described(defect, repaired=False)
        )
    known = {item.name: item for item in embedders}
    for generation in (yield from collections.generations()):
        if (yield from structure.exists(generation)):
            count = yield from _count(diagnosis, generation, known)
            yield from _check_documents(diagnosis, generation, count, known if repair else None)
    # An index cannot be built on vectors of different lengths: after the documents.
    yield from _treat(diagnosis, (yield from structure.index_defects()), repair=repair)
    return diagnosis


def _treat(diagnosis: Diagnosis, defects: Sequence[Defect], *, repair: bool) -> Flow[None]:
    for defect in defects:
        diagnosis.add(
            (yield from _mended(defect)) if repair else _described(defect, repaired=False)
        )


def _extras() -> Iterator[Check]:
    """Which optional packages are there."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("pgrecall") or []:
        if found := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line):
            wanted.setdefault(found[2], []).append(found[1])
    for extra, packages in sorted(wanted.items()):
        missing = [name for name in packages if not _installed(name)]
        detail = f"not installed: pip install 'pgrecall[{extra}]'" if missing else "installed"
        yield Check(name=f"extra {extra}", state="ok", detail=detail)


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _opened(name: str, known: Mapping[str, Embedder]) -> tuple[Embedder | None, str | None]:
    """The embedder of that name, or why it cannot be had."""
    if name in known:
        return known[name], None
    try:
        return open_embedder(name), None
    except errors.PgrecallError as exc:
        return None, str(exc)


def _described(defect: Defect, *, repaired: bool, reason: str = "") -> Problem:
    return Problem(
        kind=defect.kind,
        subject=defect.subject,
        detail=defect.detail + reason,
        repaired=repaired,
    )


def _mended(defect: Defect) -> Flow[Problem]:
    if defect.repair is None:
        return _described(defect, repaired=False)
    try:
        yield from defect.repair()
    except errors.DatabaseUnavailable:
        raise
    except errors.PgrecallError as exc:
        return _described(defect, repaired=False, reason=f"; it cannot be repaired: {exc}")
    return _described(defect, repaired=True)


def _count(
    diagnosis: Diagnosis, generation: Generation, known: Mapping[str, Embedder]
) -> Flow[Count | None]:
    """What the tokens of a generation were counted with; a warning where nobody can tell."""
    name = generation.embedder
    if name.startswith(GIVEN):  # its chunks were made elsewhere
        return None
    try:
        own = (
            known[name].tokenizer
            if name in known
            else (yield from compute(lambda: own_tokenizer(name)))
        )
    except errors.PgrecallError as exc:
        warning = Check(
            name=f"tokens of {generation.collection}",
            state="warning",
            detail=f"not counted again with the tokenizer of {name}: {exc}",
        )
        diagnosis.checks.append(warning)
        return None
    return own.count


def _check_documents(
    diagnosis: Diagnosis,
    generation: Generation,
    count: Count | None,
    embedders: Mapping[str, Embedder] | None,
) -> Flow[None]:
    """All documents of a generation; they are mended where embedders are given."""
    after: verify.Place | None = verify.START
    while after is not None:
        found = yield from verify.batch(generation, after, count)
        after = found.after
        diagnosis.documents += found.documents
        diagnosis.chunks += found.chunks
        for broken in found.broken:
            left, reason = broken.faults, ""
            if embedders is not None:
                reason = yield from _rewritten(diagnosis, generation, broken, embedders)
                left = yield from verify.faults(generation, broken.key, count)
            for kind, (detail, times) in broken.faults.items():
                more = f", and {times - 1} more" if times > 1 else ""
                diagnosis.add(
                    Problem(
                        kind=kind,
                        subject=f"{generation.collection}: {broken.document.uri}",
                        detail=f"{detail}{more}{reason and f'; it cannot be repaired: {reason}'}",
                        repaired=kind not in left,
                    )
                )


def _rewritten(
    diagnosis: Diagnosis,
    generation: Generation,
    broken: Checked,
    embedders: Mapping[str, Embedder],
) -> Flow[str]:
    """Chunk and embed a document again from its stored text; why that failed, or ""."""
    try:
        active = yield from collections.active(generation.collection)
    except errors.CollectionNotFound as exc:
        return str(exc)
    if active.generation_id != generation.generation_id:
        yield from verify.take_out(generation, broken)
        return ""
    embedder, reason = _opened(generation.embedder, embedders)
    if embedder is None:
        return reason or ""
    document, markup = broken.document, markup_of(broken.document)
    intact = None if "document hash" in broken.faults else broken.content_hash
    prepared = Prepared(
        document=document,
        document_id=broken.document_id,
        generation=generation,
        # That of another text would have the next ingestion skip the document.
        content_hash=intact or identity.document_hash(document, markup),
        markup=markup,
        known=True,
        replaces=broken.version,
    )
    job = Ingestion(lane=Lane(generation, embedder), tenant_id=broken.document.tenant_id)
    try:
        yield from compute(lambda: chunk(job, prepared))
        yield from write(job, (yield from embed(job, [prepared])))
    except errors.DatabaseUnavailable:
        raise
    except errors.PgrecallError as exc:
        return str(exc)
    finally:
        diagnosis.embedded += job.report.embedded
    return job.report.failed[0].reason if job.report.failed else ""
