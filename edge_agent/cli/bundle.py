"""``edge-agent bundle``: make and read model bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.console import JsonOption, print_json, print_pairs, print_table, quiet_runtime

if TYPE_CHECKING:
    from edge_agent.inference.bundle import Bundle
    from edge_agent.inference.manifest import Manifest

app = typer.Typer(help="Make and read model bundles (.edgemodel).", no_args_is_help=True)


@app.command("build")
def build(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder with bundle.json and its files.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where NAME-VERSION.edgemodel is written.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's folder and pack it as NAME-VERSION.edgemodel.

    The same folder gives the same bytes. A folder that is not a right bundle
    is refused (exit code 3) with the file and the reason, and nothing is
    written.

    [bold]Example[/]
      edge-agent bundle build models/home --out dist
    """
    from edge_agent.errors import SettingsError
    from edge_agent.inference.bundle import pack, read_bundle

    bundle = read_bundle(folder)
    target = out / f"{bundle.manifest.name}-{bundle.manifest.version}.edgemodel"
    try:
        out.mkdir(parents=True, exist_ok=True)
        pack(folder, target)
    except OSError as error:
        raise SettingsError(
            f"cannot write {target}: {error.strerror}", hint="choose a folder with --out"
        ) from error
    size = target.stat().st_size
    if as_json:
        print_json({"path": str(target), "bytes": size, "digest": bundle.digest})
    else:
        typer.echo(f"{target}  {_readable(size)}  {bundle.digest}")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.tflite", help="A text classifier with TFLite metadata.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the bundle. Default: from the file's name.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Of the bundle. Default: the metadata's, or 1.0.0.")
    ] = None,
    lang: Annotated[
        list[str] | None, typer.Option("--lang", help="Language code; may be repeated. Default: und.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the model. Default: the metadata's, or unknown.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the folder NAME is made.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of a .tflite file that says by TFLite metadata how text goes in.

    Classifiers are taken of the two kinds that TensorFlow Lite's Model Maker
    and Task Library know: BERT-style (ids, mask, segment_ids) and average word
    vectors. Vocabulary, labels and tokenizer options are read from the file,
    and it is run to make golden sentences. What is not understood is refused
    (exit code 3) with the reason, and nothing is written.

    [bold]Example[/]
      edge-agent bundle import mobilebert.tflite --name opinions --lang en --out models
      edge-agent predict --model models/opinions "a wonderful film"
    """
    from edge_agent.errors import SettingsError
    from edge_agent.inference.importing import ImportOptions, import_tflite
    from edge_agent.inference.manifest import is_name, is_version

    if name is not None and not is_name(name):
        raise SettingsError("--name is no name of a bundle", hint="small letters, digits, - and _, up to 64")
    if version is not None and not is_version(version):
        raise SettingsError("--version is no semantic version", hint="three numbers, such as 1.0.0")
    options = ImportOptions(name, version, tuple(dict.fromkeys(lang or ())), licence)
    try:
        with quiet_runtime():
            bundle = import_tflite(file, out, options)
    except OSError as error:
        raise SettingsError(
            f"cannot write into {out}: {error.strerror}", hint="choose a folder with --out"
        ) from error
    if as_json:
        print_json({"path": str(bundle.path), "digest": bundle.digest})
    else:
        _draw(bundle)
        typer.echo(f"made {bundle.path}")


@app.command("inspect")
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A bundle's folder or .edgemodel file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle says of itself, after checking every file's size and sha256.

    [bold]Examples[/]
      edge-agent bundle inspect models/home
      edge-agent bundle inspect home-1.0.0.edgemodel --json
    """
    from edge_agent.inference.bundle import opened_bundle

    with opened_bundle(path) as bundle:
        if as_json:
            print_json(_document(bundle), indent=2)
        else:
            _draw(bundle)


def _document(bundle: Bundle) -> dict[str, Any]:
    import json

    document: dict[str, Any] = json.loads(bundle.file("bundle.json").read_bytes())
    return {"digest": bundle.digest, **document}


def _draw(bundle: Bundle) -> None:
    manifest = bundle.manifest
    print_pairs(
        {
            "name": f"{manifest.name} {manifest.version}",
            "task": manifest.task.value,
            "languages": ", ".join(manifest.languages),
            **_answers(manifest),
            "longest input": f"{manifest.input.max_tokens} tokens, beyond: {manifest.input.beyond.value}",
            "licence": manifest.licence,
            "digest": bundle.digest,
        }
    )
    rows = [(name, _readable(record.size), record.sha256[:12]) for name, record in manifest.files.items()]
    print_table(("file", "size", "sha256"), rows)


def _answers(manifest: Manifest) -> dict[str, str]:
    """What the model can answer; nothing of it where it answers with a vector."""
    if not manifest.labels:
        return {}
    slots = sorted({tag[2:] for tag in manifest.slot_tags if tag != "O"})
    return {
        "labels": f"{len(manifest.labels)}: {_shortened(manifest.labels)}",
        "slots": f"{len(slots)}: {_shortened(slots)}" if slots else "none",
        "out of scope": manifest.out_of_scope or "no such class",
        "accepts from": f"{manifest.calibration.threshold:.2f}, margin {manifest.calibration.margin:.2f}",
    }


def _shortened(names: list[str] | tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _readable(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
