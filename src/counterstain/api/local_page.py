"""The verb that opens the local page, from Python and in a notebook."""

import threading
from pathlib import Path

from counterstain.api.process import Paths, paths_of
from counterstain.errors import says_arguments
from counterstain.files import StrPath
from counterstain.serving.server import ServeOptions, Started, start, web_is_there

__all__ = ["LocalPage", "serve"]

# A notebook shows the page in a frame; only notebooks of this machine may.
NOTEBOOKS = "http://localhost:* http://127.0.0.1:*"


class LocalPage:
    """A page that is being served by a thread of this process; in a notebook it shows itself.

    url: with the token, for a browser on this machine; token: for `Authorization: Bearer`; site: the first saved page,
    where `export` asked for files instead.
    """

    def __init__(self, started: Started | None, site: Path | None = None) -> None:
        self._started = started
        self.site = site
        self.token = "" if started is None else started.token
        self.url = "" if started is None else started.url.replace("//127.0.0.1:", "//localhost:")
        self._thread: threading.Thread | None = None
        if started is not None:
            server, listening = started.server, started.listening
            self._thread = threading.Thread(
                target=lambda: server.run(sockets=[listening]), name="counterstain serve", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._started is not None and self._thread is not None:
            self._started.server.should_exit = True
            self._thread.join(10)

    def __repr__(self) -> str:
        if self._started is None:
            return f"LocalPage({str(self.site)[:100]})"
        return f"LocalPage(port {self._started.port})"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        if self._started is None:
            return f"<p>{escape(str(self.site))}</p>"
        return f'<iframe src="{escape(self.url)}" title="Counterstain" width="100%" height="720"></iframe>'


@says_arguments
def serve(
    runs: StrPath = "runs",
    *,
    port: int = 8765,
    host: str = "127.0.0.1",
    token: str | None = None,
    read_only: bool = False,
    model: StrPath | None = None,
    slides: Paths | None = None,
    maps: Paths | None = None,
    export: Path | str | None = None,
) -> LocalPage:
    """Serve the local page over a folder of runs from a thread, and return at once.

    Args:
        runs: the folder that runs are in, or one run.
        port: of the page; 0 takes a free one. host: another address than this machine's own; needs `token`.
        token: what opens the page, 32 characters or more where others can reach it; None makes one.
        read_only: write no decision.
        model: a model, a run or an export, or its folder, for Predict, beside the runs' own.
        slides: folders of slides; maps: what `slides_run` returned, or its folders.
        export: write the pages as files to this folder, and serve none.

    Returns:
        The page: `page.url` to open, `page.close()` to stop; a notebook shows it in a frame.

    Raises:
        InputError: If the extra `web` is not installed, a folder is none, or the port is taken.
    """
    web_is_there()
    shown = {"slides": tuple(paths_of(slides or ())), "maps": tuple(paths_of(maps or ()))}
    if export is not None:
        from counterstain.serving.site import write_site

        return LocalPage(None, write_site(Path(runs), Path(export), **shown))
    options = ServeOptions(
        host=host, port=port, token=token, read_only=read_only, model=None if model is None else Path(model),
        ancestors=NOTEBOOKS, **shown,
    )  # fmt: skip
    return LocalPage(start(Path(runs), options))
