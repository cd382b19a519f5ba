"""``folioscope serve`` and ``folioscope keys``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.cli_common import console, notes, print_json

if TYPE_CHECKING:
    from serving.http.auth import Keys
    from serving.http.database import Database

_SUFFIX = ".server"
keys_app = typer.Typer(no_args_is_help=True, help="API keys of a server.", rich_markup_mode=None)
StateOption = Annotated[
    Path, typer.Option("--state", help="The server's folder of records.", envvar="FOLIOSCOPE_STATE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


def serve(
    index: Annotated[
        list[str] | None,
        typer.Option("-i", "--index", help="An index folder, or NAME=FOLDER; several times."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Uploads, jobs, keys. Beside the first index, unless said."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--read-write", help="Refuse every change.")
    ] = None,
    vlm: Annotated[
        str | None,
        typer.Option(help="A model that answers: an endpoint's URL, or local:MODEL."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Its name, where the server has several.")
    ] = None,
    safety: Annotated[
        str | None, typer.Option(help="The safety gate: on, off, or a policy file.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in TOML.")] = None,
    json_logs: Annotated[bool, typer.Option(help="Log one JSON object a line.")] = False,
) -> None:
    """Serve indexes over HTTP, with a web page. Stops at Ctrl-C when answers under way are done.

    Examples:

    folioscope serve --index my-index

    folioscope serve -i reports=idx/reports -i manuals=idx/manuals --port 9000
    """
    from retrieval.errors import InputError

    try:
        from serving.http.run import run
        from serving.http.settings import load_settings
        from serving.http.startable import check_startable
    except ModuleNotFoundError as error:
        raise InputError(
            f"the server needs the package '{error.name}', which is not installed; "
            "run `pip install 'folioscope[server]'`"
        ) from error

    indexes = _indexes(index or [])
    if state is None and indexes:
        first = next(iter(indexes.values()))
        state = first.with_name(first.name + _SUFFIX)
    settings = load_settings(
        config,
        indexes=indexes or None,
        state=state,
        host=host,
        port=port,
        read_only=read_only,
        safety=safety,
        vlm_url=vlm,
        vlm_model=model,
    )
    check_startable(settings)
    where = f"http://{settings.host}:{settings.port}" if settings.port else "a free port"
    notes.print(
        f"Serving {', '.join(settings.indexes)} on {where} "
        f"(API: /docs); records in {settings.state}",
        highlight=False,
        soft_wrap=True,
    )
    run(settings, json_logs=json_logs)


def mcp(
    index: Annotated[Path, typer.Option("-i", "--index", help="The index folder.")],
    vlm: Annotated[
        str | None, typer.Option(help="A model that answers: an endpoint's URL, or local:MODEL.")
    ] = None,
    model: Annotated[str, typer.Option(help="Its name, where the server has several.")] = "",
    key: Annotated[
        str, typer.Option(help="Its API key.", envvar="OPENAI_API_KEY", show_default=False)
    ] = "none",
    safety: Annotated[str, typer.Option(help="The safety gate: on, off, or a policy file.")] = "on",
) -> None:
    """Offer an index to an agent as tools (Model Context Protocol, over stdin and stdout).

    Example, in an agent's settings:  folioscope mcp --index /home/me/my-index
    """
    from retrieval.errors import InputError

    try:
        from serving.mcp_server import make_server
    except ModuleNotFoundError as error:
        raise InputError(
            f"this needs the package '{error.name}', which is not installed; "
            "run `pip install 'folioscope[mcp]'`"
        ) from error
    make_server(index, vlm=vlm, model=model, key=key, safety=safety).run("stdio")


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    state: StateOption,
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write, review or admin; several times.")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only these collections; several times.")
    ] = None,
    pin: Annotated[
        list[str] | None, typer.Option(help="key=value: only documents with it; several times.")
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin the server's folder if there is none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and show its token this once.

    Example:  folioscope keys create acme --state my-index.server --pin tenant=acme
    """
    from indexing.metadata import parse_pairs

    keys = _keys(state, begin=True, new=new)
    served = keys.collections_served()
    unknown = sorted(set(collection or ()) - served)
    if unknown and served:
        notes.print(
            f"warning: no server with these records has served {', '.join(unknown)} "
            f"(served: {', '.join(sorted(served))}); the key reaches nothing there until one does",
            highlight=False,
            soft_wrap=True,
        )
    key, token = keys.create(name, scope or ["read"], collection, parse_pairs(pin or []))
    if as_json:
        print_json({**_shown(key), "token": token})
    else:
        console.print(f"{token}", soft_wrap=True, highlight=False)
        notes.print(f"Key {key.id} ({', '.join(key.scopes)}). The token is not shown again.")


@keys_app.command("list")
def list_keys(state: StateOption, as_json: JsonOption = False) -> None:
    """List the keys, without their tokens."""
    from rich.table import Table

    keys = _keys(state).all()
    if as_json:
        print_json([_shown(key) for key in keys])
        return
    table = Table()
    for column in ("id", "name", "scopes", "collections", "pinned", "revoked"):
        table.add_column(column)
    for key in keys:
        pinned = ", ".join(f"{name}={value}" for name, value in key.pinned.items())
        table.add_row(
            key.id,
            key.name,
            ", ".join(key.scopes),
            ", ".join(key.collections) or "all",
            pinned or "-",
            "yes" if key.revoked else "no",
        )
    console.print(table)


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    state: StateOption,
    as_json: JsonOption = False,
) -> None:
    """End a key at once, also in a running server."""
    key = _keys(state).revoke(key_id)
    if as_json:
        print_json(_shown(key))
    else:
        console.print(f"revoked {key.id} ({key.name})", highlight=False)


@keys_app.command("audit")
def show_audit(
    state: StateOption,
    limit: Annotated[int, typer.Option(min=1, help="How many, from the newest.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """The audit log: which key asked for which change, and when; newest first."""
    from datetime import UTC, datetime

    from rich.table import Table

    entries = [
        {**dict(row), "at": datetime.fromtimestamp(row["at"], UTC).isoformat("T", "seconds")}
        for row in _database(state).rows("SELECT * FROM audit ORDER BY at DESC LIMIT ?", limit)
    ]
    if as_json:
        print_json(entries)
        return
    columns = ("at", "key", "action", "collection", "target", "request")
    table = Table(*columns)
    for entry in entries:
        table.add_row(*(str(entry[column]) for column in columns))
    console.print(table)


def _keys(state: Path, *, begin: bool = False, new: bool = False) -> Keys:
    from serving.http.auth import Keys

    return Keys(_database(state, begin=begin, new=new))


def _database(state: Path, *, begin: bool = False, new: bool = False) -> Database:
    """The records in ``state``. ``begin`` allows their first use where that is meant: ``new`` says
    so, or the folder is empty, or is the one that a server of the index beside it would take.

    Raises ``StorageError`` if there are none: a mistyped name must not begin another folder.
    """
    from retrieval.errors import StorageError
    from serving.http.database import RECORDS, Database

    file = state / RECORDS
    meant = new or _is_empty(state) or _is_default(state)
    if not file.exists() and not (begin and meant):
        how = "; --new begins them there" if begin else ""
        raise StorageError(
            f"{state}: no server's records are here; name the folder that `folioscope serve` says "
            f"it keeps them in (my-index.server beside my-index, unless it was told another){how}"
        )
    return Database(file)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _is_default(state: Path) -> bool:
    from retrieval.manifest import MANIFEST_NAME

    index = state.absolute()
    return index.suffix == _SUFFIX and (index.with_suffix("") / MANIFEST_NAME).exists()


def _shown(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "collections": list(key.collections),
        "pinned": dict(key.pinned),
        "created": key.created,
        "revoked": key.revoked,
    }


def _indexes(given: list[str]) -> dict[str, Path]:
    from retrieval.errors import InputError

    found: dict[str, Path] = {}
    for item in given:
        name, equals, folder = item.partition("=")
        if not equals or "/" in name:
            name, folder = "default", item
        if name in found:
            raise InputError(f"two indexes are called '{name}'; use --index NAME=FOLDER")
        found[name] = Path(folder).absolute()
    return found
