"""Trained models on the Hugging Face Hub, by its mixin: a folder of safetensors, JSON and a model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from textwrap import shorten
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelHubMixin, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # `HTTPError` is that of its HTTP client
    HFValidationError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from emorl.errors import DataError, did_you_mean, reason
from emorl.files import to_write
from emorl.folder import CARD, DESCRIBING, change_of, files_of, write
from emorl.pretrained import Pretrained, assembled, from_pretrained
from emorl.ranges import path_like
from emorl.saved import CONFIG, WEIGHTS, from_files
from emorl.stored import names


class HubModel(ModelHubMixin, Pretrained, library_name="emorl"):
    """A trained model that is saved to and loaded from a folder, or a repository of the hub.

    The folder contains ``model.safetensors``, ``config.json`` (configuration, card and the weights' checksum),
    ``README.md`` (the model card) and for shipped weights a picture. No code in it is executed: there is no pickle, and
    only classes of `emorl.model`, and those that the caller of `from_pretrained` names, are built.

    >>> from emorl.pretrained import load_pretrained
    >>> HubModel.of(load_pretrained("tetrominoes")).image_size
    35
    """

    @classmethod
    def of(cls, model: Pretrained) -> HubModel:
        """Return a trained model as a `HubModel` that shares its weights."""
        return cls(model.network, model.image_size, model.card, model.crop).eval()

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> HubModel:  # type: ignore[override]
        """Load a folder or a repository, with the options of `emorl.from_pretrained`.

        Raises:
            DataError: if it does not exist, cannot be reached, is damaged, is not a model of emorl, or contains a class
                that is neither in `emorl.model` nor in ``classes``.
            TypeError: if there is no such option; the mixin would ignore it.
        """
        signature(from_pretrained).bind(name, **options)
        path_like(name=name)
        with _reached(name, f"a folder or a repository of the hub with {CONFIG} and {WEIGHTS}"):
            try:
                return super().from_pretrained(name, **{"classes": ()} | options)
            except (DataError, HFValidationError):
                raise
            except (ValueError, TypeError, AttributeError, RecursionError) as error:  # of the configuration
                expected, remedy = f"a {CONFIG} of emorl", "save the model with save_pretrained"
                raise DataError.of(name, expected=expected, got=f"{error}", remedy=remedy) from error

    def save_pretrained(  # type: ignore[override]
        self,
        folder: str | Path,
        *,
        repo_id: str = "user/repo",
        model_card_kwargs: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> str | None:
        """Save to a folder. A README.md or picture.png in it that was edited is kept, with a warning.

        Args:
            folder: the folder.
            repo_id: name of the repository in the model card.
            model_card_kwargs: metadata for the model card in addition to those of ``card``.
            push_to_hub: whether to upload, too.
            options: for the upload, see the mixin.

        Raises:
            DataError: if a part of the model or its card cannot be stored, or a class cannot be imported by others, or
                if the folder cannot be written to. Files of a former model are not changed.
            TypeError: if a part of the model is a function, see `emorl.model.describe`, or the folder is not a path.
        """
        path_like(folder=folder)
        write(to_write(folder), files_of(self, **{"repo_id": repo_id} | (model_card_kwargs or {})))
        return self.push_to_hub(repo_id, model_card_kwargs=model_card_kwargs, **options) if push_to_hub else None

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to a repository, with a model card that names it; create the repository if it does not exist.

        As by `save_pretrained`, a README.md or picture.png that was edited there is kept, with a warning.

        Args:
            repo_id: name, user/repo; without a user that of the token.
            options: those of the mixin.

        Raises:
            DataError: as `save_pretrained`, or if the name is not valid, or the hub cannot be reached or refuses the
                upload.
            TypeError: as `save_pretrained`.
        """
        if not isinstance(repo_id, str):
            raise TypeError(f"Expected repo_id as text, user/repo, got {repo_id!r}.")
        with _reached(repo_id, "a repository user/repo of the hub to write to"):
            validate_repo_id(repo_id)
            if "/" not in repo_id:
                repo_id = f"{HfApi(token=options.get('token')).whoami()['name']}/{repo_id}"
            options["model_card_kwargs"] = {**(options.get("model_card_kwargs") or {}), "repo_id": repo_id}
            files = files_of(self, **options["model_card_kwargs"])  # before the repository is created
            before = _described(repo_id, revision=options.get("branch"), token=options.get("token"))
            change = change_of(before, files, repo_id)
            options["ignore_patterns"] = [*_patterns(options, "ignore_patterns"), *change.kept]
            options["delete_patterns"] = [*_patterns(options, "delete_patterns"), *change.obsolete] or None
            return str(super().push_to_hub(repo_id, **options))

    def generate_model_card(self, *_: Any, **options: Any) -> ModelCard:
        """Return the model card as an object of huggingface_hub, see `emorl.folder.files_of`."""
        return ModelCard(files_of(self, **options)[CARD].decode(), ignore_metadata_errors=True)

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls, *, model_id: str, classes: Sequence[type], **options: Any
    ) -> HubModel:
        known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        options = {name: options[name] for name in known if name in options}
        return cls.of(assembled(from_files(model_id, lambda name: _content(model_id, name, options), classes)))


def _described(repo_id: str, **options: Any) -> dict[str, bytes]:
    """Return the files of a model in a repository that describe it; none if there is no such repository yet."""
    found = {}
    for name in DESCRIBING:
        try:
            found[name] = _content(repo_id, name, options)
        except (RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
            continue
    return found


def _patterns(options: dict[str, Any], name: str) -> list[str]:
    given = options.get(name) or []
    return [given] if isinstance(given, str) else list(given)


def _content(model_id: str, name: str, options: dict[str, Any]) -> bytes:
    """Return a file of a folder or a repository."""
    folder = Path(model_id)
    path = folder / name if folder.is_dir() else Path(hf_hub_download(model_id, name, **options))
    return path.read_bytes()


@contextmanager
def _reached(name: str | Path, expected: str) -> Iterator[None]:
    """Report as a `DataError` that a folder cannot be read, or that a repository is not valid or cannot be reached."""
    try:
        yield
    except (OSError, HTTPError, HFValidationError) as error:
        remedy = "check the name, the connection and your access (hf auth login)"
        if isinstance(error, HFValidationError):
            remedy = "give its name as user/repo"
        elif Path(name).is_dir():
            remedy = "save the model with save_pretrained"
        remedy += did_you_mean(str(name), names())
        got = shorten(reason(error), 200, placeholder=" [...]").rstrip(".")
        raise DataError.of(name, expected=expected, got=got, remedy=remedy) from error
