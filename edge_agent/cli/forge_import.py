"""``edge-agent forge import``: a Hugging Face checkpoint folder becomes a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.console import JsonOption, needs_extra, print_json, quiet_runtime
from edge_agent.errors import SettingsError


def import_folder(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="config.json, model.safetensors or pytorch_model.bin, vocab.txt or tokenizer.json.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The bundle's folder. Default: ./NAME."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model. Default: the folder's.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Version of the bundle.")] = "1.0.0",
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="A,B,…", help="Labels in place of those of config.json, in their order."
        ),
    ] = None,
    languages: Annotated[
        str, typer.Option("--languages", metavar="A,B,…", help="Languages that the model understands.")
    ] = "und",
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="Of the weights. Default: what the folder's README.md says."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of a Hugging Face checkpoint: BERT, MiniLM, TinyBERT, DistilBERT, MobileBERT.

    Sequence classification, token classification (its tags become slots) and
    the bare encoder (sentence embeddings). The weights become int8; golden
    sentences with the float32 original's answers go into the bundle, and it
    is written only if it answers them alike on this machine. Nothing in the
    folder is executed.

    [bold]Examples[/]
      edge-agent forge import ./distilbert-sst2 --name opinions --languages en
      edge-agent forge import ./all-MiniLM-L6-v2 --out models/sentences
    """
    with needs_extra("forge"):
        from edge_agent.forge.checkpoints.bundle import import_checkpoint, plain_name
    target = out or Path(name or plain_name(folder))
    try:
        with quiet_runtime():
            import_checkpoint(
                folder,
                target,
                name=name,
                version=version,
                labels=_split(labels),
                languages=_split(languages) or ("und",),
                licence=licence,
            )
    except OSError as error:
        raise SettingsError(
            f"cannot write {target}: {error.strerror}", hint="choose a folder with --out"
        ) from error
    _show(target, as_json=as_json)


def _split(names: str | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(name.strip() for name in names.split(",") if name.strip())


def _show(bundle: Path, *, as_json: bool) -> None:
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    agreement = manifest["metrics"]["agreement_with_float32"]
    if as_json:
        print_json(
            {"bundle": bundle, **{key: manifest[key] for key in ("name", "version", "task", "metrics")}},
            indent=2,
        )
        return
    typer.echo(f"bundle  {bundle}: {manifest['name']} {manifest['version']}, task {manifest['task']}")
    typer.echo(
        f"int8    {manifest['metrics']['model_bytes'] / 1e6:.1f} MB, mean cosine with the original "
        f"{agreement['mean_cosine']:.4f} on {agreement['sentences']} sentences"
    )
    typer.echo(f"try it  edge-agent predict --model {bundle} 'a text'")
