"""Results in MTEB's format, so that they can stand beside published ones.

One file a task, ``results/MODEL/REVISION/TASK.json``, with ``model_meta.json`` beside it, as
``mteb.results.TaskResult.to_disk`` writes it (``mteb/results/task_result.py`` of
https://github.com/embeddings-benchmark/mteb): ``scores`` by split holds one object a subset with
``ndcg_at_k``, ``map_at_k``, ``recall_at_k``, ``precision_at_k``, ``mrr_at_k``, ``main_score``,
``hf_subset`` and ``languages``. All values are trec_eval's, through ir-measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from eval.datasets import Question
from eval.measures import per_question
from eval.runs import Run
from retrieval.errors import InputError

_AT = (1, 3, 5, 10, 20, 100, 1000)
_FAMILIES = {"ndcg": "nDCG", "map": "AP", "recall": "R", "precision": "P", "mrr": "RR"}
# Data sets that MTEB has as tasks, by the last part of their hub name, and its main score of them.
_TASKS = {
    "arxivqa_test_subsampled": "VidoreArxivQARetrieval",
    "docvqa_test_subsampled": "VidoreDocVQARetrieval",
    "infovqa_test_subsampled": "VidoreInfoVQARetrieval",
    "tabfquad_test_subsampled": "VidoreTabfquadRetrieval",
    "tatdqa_test": "VidoreTatdqaRetrieval",
    "shiftproject_test": "VidoreShiftProjectRetrieval",
    "syntheticDocQA_artificial_intelligence_test": "VidoreSyntheticDocQAAIRetrieval",
    "syntheticDocQA_energy_test": "VidoreSyntheticDocQAEnergyRetrieval",
    "syntheticDocQA_government_reports_test": "VidoreSyntheticDocQAGovernmentReportsRetrieval",
    "syntheticDocQA_healthcare_industry_test": "VidoreSyntheticDocQAHealthcareIndustryRetrieval",
    "esg_reports_v2": "Vidore2ESGReportsRetrieval",
    "economics_reports_v2": "Vidore2EconomicsReportsRetrieval",
    "biomedical_lectures_v2": "Vidore2BioMedicalLecturesRetrieval",
    "esg_reports_human_labeled_v2": "Vidore2ESGReportsHLRetrieval",
    "vidore_v3_computer_science": "Vidore3ComputerScienceRetrieval",
    "vidore_v3_energy": "Vidore3EnergyRetrieval",
    "vidore_v3_finance_en": "Vidore3FinanceEnRetrieval",
    "vidore_v3_finance_fr": "Vidore3FinanceFrRetrieval",
    "vidore_v3_hr": "Vidore3HrRetrieval",
    "vidore_v3_industrial": "Vidore3IndustrialRetrieval",
    "vidore_v3_pharmaceuticals": "Vidore3PharmaceuticalsRetrieval",
    "vidore_v3_physics": "Vidore3PhysicsRetrieval",
}
_LANGUAGES = {
    "english": "eng-Latn",
    "french": "fra-Latn",
    "german": "deu-Latn",
    "spanish": "spa-Latn",
    "italian": "ita-Latn",
    "portuguese": "por-Latn",
}


def task_name(data_set: str) -> str:
    """MTEB's name for a data set, or the data set's own."""
    plain = data_set.removesuffix("_beir").removesuffix("_mteb_format")
    return _TASKS.get(plain, data_set)


def task_result(run: Run, split: str = "test") -> dict[str, Any]:
    """A run as MTEB's ``TaskResult``; a subset for each language, or ``default``."""
    name = task_name(run.header["dataset"]["name"])
    by_language: dict[str, list[Question]] = {}
    for question in run.questions.values():
        if question.qid in run.answered and question.relevant:
            by_language.setdefault(question.language, []).append(question)
    if not by_language:
        raise InputError("the run has no question with a page that answers it")
    spent = sum(answer.timing_ms.get("total", 0.0) for answer in run.answered.values()) / 1000
    return {
        "dataset_revision": run.header["dataset"]["fingerprint"],
        "task_name": name,
        "mteb_version": _mteb_version(),
        "scores": {
            split: [
                {
                    **_scores(run, questions, main=_main_score(name)),
                    "hf_subset": language or "default",
                    "languages": [_LANGUAGES.get(language, language or "eng-Latn")],
                }
                for language, questions in sorted(by_language.items())
            ]
        },
        "evaluation_time": round(spent, 3),
        "kg_co2_emissions": None,
        "date": datetime.fromisoformat(run.header["date"]).timestamp(),
    }


def write_mteb(run: Run, folder: Path, split: str = "test") -> Path:
    """Write the run's result and what the model is under ``folder``; returns the result's path.

    The model is the encoder with the mode of search, its revision the encoder's fingerprint.
    Raises ``InputError`` if nothing can be written there.
    """
    result = task_result(run, split)
    encoder = run.header["collection"]["encoder"]
    model = f"folioscope/{_plain(encoder)}-{run.header['mode']}"
    revision = run.header["collection"].get("encoder_fingerprint") or "unknown"
    home = folder / model.replace("/", "__") / revision[:40]
    meta = {
        "name": model,
        "revision": revision,
        "release_date": None,
        "languages": None,
        "loader": None,
        "framework": [],
        "similarity_fn_name": "MaxSim",
        "open_weights": True,
        "modalities": ["text", "image"],
        "settings": run.header["settings"],
        "machine": run.header["machine"],
    }
    path = home / f"{result['task_name']}.json"
    try:
        home.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        (home / "model_meta.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}; name a folder") from error
    return path


def _scores(run: Run, questions: Sequence[Question], main: str) -> Mapping[str, float]:
    at = [k for k in _AT if k <= int(run.header["depth"])]
    names = {f"{key}_at_{k}": f"{family}@{k}" for key, family in _FAMILIES.items() for k in at}
    values = per_question(questions, run, list(names.values()))
    scores = {
        key: round(float(np.mean(list(values[name].values()))), 6) for key, name in names.items()
    }
    return {**scores, "main_score": scores.get(main, scores[f"ndcg_at_{at[-1]}"])}


def _main_score(task: str) -> str:
    """ViDoRe's first two editions report nDCG@5, the third and all others nDCG@10."""
    early = task.startswith(("Vidore", "Vidore2")) and not task.startswith("Vidore3")
    return "ndcg_at_5" if early else "ndcg_at_10"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name)


def _mteb_version() -> str | None:
    try:
        return version("mteb")
    except PackageNotFoundError:
        return None
