"""Files of predictions, of this project and of others: recognised by what they hold, one module for each form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.prediction_files import (
    densevid,
    etbench,
    lmms_eval,
    mappings,
    moment_detr,
    records,
    tempcompass,
)
from timechat.evaluation.prediction_files.documents import Document, read_documents
from timechat.evaluation.prediction_files.predictions import Form, Prediction
from timechat.registry import nearest
from timechat.wording import counted

__all__ = ["FORMS", "Document", "Prediction", "PredictionFile", "read_predictions"]

# In the order in which they are tried; records and mappings take every list and every object.
FORMS: dict[str, Form] = {
    "moment-detr": moment_detr.FORM,
    "etbench": etbench.FORM,
    "lmms-eval": lmms_eval.FORM,
    "records": records.FORM,
    "densevid": densevid.FORM,
    "tempcompass": tempcompass.FORM,
    "mapping": mappings.FORM,
}
MAX_LISTED = 10


@dataclass(frozen=True)
class PredictionFile:
    """What a file of predictions holds.

    Attributes:
        name: of the file, or what stands for it.
        form: a key of FORMS.
        predictions: all of them, in the file's order; several may be of one question.
    """

    name: str
    form: str
    predictions: list[Prediction]


def read_predictions(source: str | Path | Any, form: str | None = None) -> PredictionFile:
    """Read predictions.

    Args:
        source: a file, .json or .jsonl; a folder, whose `predictions.jsonl` is read, or else each of its .json files;
            or what such a file holds, as lists and dicts.
        form: a key of FORMS; None is the one that the content has.

    Raises:
        PredictionError: listing what is wrong, each with its place in the file, the field and the fix; or a file that
            is empty, missing, or in no known form.
    """
    if form is not None and form not in FORMS:
        raise PredictionError(f"--format {form}: unknown form{nearest(form, list(FORMS))}; known: {', '.join(FORMS)}")
    documents = read_documents(source)
    forms = {document.name: form or _form_of(document) for document in documents}
    if len(set(forms.values())) > 1:
        told = ", ".join(f"{name}: {found}" for name, found in forms.items())
        raise PredictionError(f"{source}: its files differ in form ({told}); name one file")
    found = forms[documents[0].name]
    predictions = [prediction for document in documents for prediction in _read(document, FORMS[found])]
    name = str(source) if isinstance(source, str | Path) else documents[0].name
    if not predictions:
        raise PredictionError(f"{name}: holds no predictions; name a file with at least one")
    return PredictionFile(name, found, predictions)


def _form_of(document: Document) -> str:
    return next(name for name, form in FORMS.items() if form.fits(document.content))


def _read(document: Document, form: Form) -> list[Prediction]:
    """All predictions, or every problem at once."""
    predictions: list[Prediction] = []
    problems: list[str] = []
    for where, raw in form.entries(document):
        try:
            predictions += [replace(prediction, where=where) for prediction in form.read(raw)]
        except PredictionError as error:
            problems.append(f"{where}: {error}")
    if problems:
        _refuse(document.name, problems)
    return predictions


def _refuse(name: str, problems: Sequence[str]) -> None:
    rest = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
    listed = "\n  ".join(problems[:MAX_LISTED])
    raise PredictionError(f"{name}: {counted(len(problems), 'problem')}, correct or remove:\n  {listed}{rest}")
