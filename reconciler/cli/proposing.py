"""Proposes the candidates that pass: as edits of the manifests, or as one commit."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.cli.promotion import (
    Register,
    describe_places,
    list_edits,
    place_models,
    recall_metrics,
    sort_edits,
)
from reconciler.cli.rewrite import rewriting
from reconciler.cli.training import Trainer
from reconciler.cli.wiring import Assembly
from reconciler.engine.training.registering import register_candidate
from reconciler.errors import ReconcilerError
from reconciler.manifests.editing.accept import Acceptance, PlacedEdit, apply_edits
from reconciler.manifests.proposal import Committed, Repository
from reconciler.model import Address, Manifest, ModelReference
from reconciler.model.training import Retraining
from reconciler.plans.gates import Candidate
from reconciler.ports import AlternatesDeployments, RegistersModels
from reconciler.render.training import TrainingResult, write_message, write_trailer


class Proposer:
    """Writes the results of the retrainings of one project into its manifests."""

    def __init__(self, invocation: Invocation, assembly: Assembly, trainer: Trainer) -> None:
        self._invocation, self._assembly, self._trainer = invocation, assembly, trainer
        self._root = Path(assembly.project.root)
        self._manifests = {one.address: one for one in assembly.loaded.manifests}

    def propose(
        self,
        retrainings: Sequence[Retraining],
        candidates: Mapping[Address, Candidate],
        *,
        commit: bool,
        branch: str,
    ) -> list[TrainingResult]:
        """Write the models that pass into the manifests, or into one commit.

        A model that a service must keep as a version is registered before, once all else is known
        to be possible.
        """
        judged = [one for one in retrainings if one.address in candidates]
        good = [one for one in judged if not candidates[one.address].refused]
        registered: dict[Address, dict[str, str]] = {one.address: {} for one in judged}
        if any(map(self._registers, good)):
            texts = self._find_texts(self._place(self._accept(good, candidates, None)))
            if texts and commit:
                Repository(self._root).check_committed(texts)
        accepted = self._accept(good, candidates, registered)
        placed = self._place(accepted)
        edits = sort_edits(placed, accepted)
        texts = self._find_texts(placed)
        known = {
            one.address: replace(candidates[one.address], versions=registered[one.address])
            for one in judged
        }
        made = Committed("")
        if texts and commit:
            Repository(self._root).check_committed(texts)
        # After a commit that git refuses, no file has changed.
        with self._writing(texts if not branch else {}, {one.manifest.address for one in placed}):
            if texts and commit:
                proposed = [(one, known[one]) for one in edits if edits[one]]
                trailer = write_trailer([one.address for one in retrainings])
                facts = self._assembly.load_snapshot().facts
                before = {one.parent: recall_metrics(facts, one.parent) for _, one in proposed}
                message = write_message(proposed, trailer, before)
                made = Repository(self._root).commit(texts, message, branch, trailer)
        if made.commit and not branch:
            Repository(self._root).stage(texts)
        return [
            TrainingResult(
                one.address,
                known[one.address],
                files=tuple(dict.fromkeys(edit.file for edit in edits.get(one.address, ()))),
                branch=branch if edits.get(one.address) else "",
                commit=made.commit if edits.get(one.address) else "",
                declared=bool(one in good and one.promote and not edits[one.address]),
                places=describe_places(edits.get(one.address, ())),
            )
            for one in judged
        ]

    def _registers(self, retraining: Retraining) -> bool:
        kinds = (self._assembly.kinds[one.resource.kind] for one in retraining.promote)
        return any(isinstance(kind, AlternatesDeployments) for kind in kinds)

    def _accept(
        self,
        good: Iterable[Retraining],
        candidates: Mapping[Address, Candidate],
        registered: Mapping[Address, dict[str, str]] | None,
    ) -> Mapping[Address, Sequence[Acceptance]]:
        """Returns the edits of each retraining; nothing is registered if `registered` is None."""
        return {
            one.address: [
                *list_edits(
                    one,
                    candidates[one.address],
                    self._manifests,
                    self._assembly.kinds,
                    self._register(one, registered[one.address])
                    if registered is not None
                    else None,
                )
            ]
            for one in good
        }

    def _register(self, retraining: Retraining, registered: dict[str, str]) -> Register:
        """Returns what registers a candidate, and notes its version in `registered`."""

        def register(manifest: Manifest, served: ModelReference, candidate: Candidate) -> str:
            address = manifest.address
            provider = self._trainer.runtime.providers[address.kind]
            if not isinstance(provider, RegistersModels):
                raise ReconcilerError(
                    f"the kind {address.kind} registers no models",
                    subject=str(address),
                    next_step="Name a resource of another kind in spec.promote.",
                )
            kind = self._assembly.kinds[address.kind]
            resource = kind.identify(manifest, self._assembly.project.defaults)
            version = register_candidate(
                self._trainer.ports, provider, resource, served, candidate, retraining.address
            )
            registered[str(address)] = version
            return version

        return register

    def _place(self, accepted: Mapping[Address, Sequence[Acceptance]]) -> Sequence[PlacedEdit]:
        wanted = itertools.chain(*accepted.values())
        return place_models(self._invocation, self._root, self._assembly.loaded, wanted)

    def _find_texts(self, placed: Sequence[PlacedEdit]) -> Mapping[Path, str]:
        """The new text of each file that changes."""
        texts = apply_edits(self._root, placed, self._assembly.loaded.tokens)
        return {path: text for path, text in texts.items() if text.encode() != path.read_bytes()}

    def check_commit(self, retrainings: Sequence[Retraining], branch: str) -> None:
        """Raise ReconcilerError, before a job is started, if its result could not be committed."""
        repository = Repository(self._root)
        repository.check_clean()
        repository.check_author()
        files = (self._list_files(one.resource) for each in retrainings for one in each.promote)
        repository.check_committed({path for each in files for path in each})
        if branch:
            repository.check_branch(branch, write_trailer([one.address for one in retrainings]))

    def _list_files(self, address: Address) -> Iterator[Path]:
        """The files in which the model of a resource can be: its manifest, and its item's file."""
        manifest = self._trainer.find_manifest(address)
        environment = self._assembly.loaded.environment
        member = manifest.member
        yield self._root / manifest.file
        yield from [self._root / member.place.file] if member is not None else []
        yield from [self._root / environment.file] if environment is not None else []

    @contextmanager
    def _writing(self, texts: Mapping[Path, str], written: Collection[Address]) -> Iterator[None]:
        if not texts:
            yield
            return
        with rewriting(self._invocation, self._assembly, self._trainer.runtime, texts, written):
            yield
