"""earshot app: a page on this machine that captions what is dropped on it, recorded, or put together."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot.errors import InputError, one_line_errors
from earshot.signals import SIGNALS

if TYPE_CHECKING:  # --help needs no torch
    from earshot.captioner import Captioner

CSS = Path(__file__).with_name("app.css")
INTRODUCTION = (
    "# earshot\nCaptions of sounds by models that never saw an audio-caption pair. Everything stays on this machine."
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser(
        "earshot app",
        description="A page in the browser, served on this machine only: drop or record a sound or a video, or put a "
        "scene of the miniature together, and read the captions of several captioners side by side.",
    )
    add = parser.add_argument
    add(
        "--with",
        dest="captioners",
        action="append",
        metavar="NAME[+OVERLAY]",
        help="an export or configuration as of `earshot caption --with`, and overlays as of its --config, as "
        "clap_prefix+strategy/nearest_neighbour; repeatable; default: all exports that caption, and keywords",
    )
    add("--port", type=int, default=7860, help="of this machine; default: %(default)s")
    add("--device", help="such as cuda:1; default: a GPU where there is one")
    options = parser.parse_args(args)
    with SIGNALS.handled(), one_line_errors():
        serve(options)


def serve(options: argparse.Namespace) -> None:
    """Serve until interrupted.

    Raises:
        InputError: no Gradio, no such captioner, or a port that is taken or none.
    """
    if not 1 <= options.port <= 65535:
        raise InputError(f"expected a --port from 1 to 65535, found {options.port}; correct it")
    with tempfile.TemporaryDirectory(prefix="earshot-app-") as folder:
        # Gradio reads these when it is imported; what is uploaded goes when the page does
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        known = (os.environ.get(name) for name in ("no_proxy", "NO_PROXY"))
        direct = ",".join(filter(None, (*known, "127.0.0.1", "localhost")))  # it asks its page whether it is there
        os.environ |= {"no_proxy": direct, "NO_PROXY": direct}
        try:
            import gradio as gr
        except ImportError:
            raise InputError("expected Gradio, found none; run: pip install 'earshot[app]'") from None
        from earshot.stage import all_captioners, find_stage

        names = options.captioners or [name.removeprefix("exports/") for name in all_captioners()]
        for name in names:
            find_stage(name.partition("+")[0])
        page = build(Loaded(options.device), names, Path(folder))
        try:
            page.queue(api_open=False).launch(
                server_name="127.0.0.1", server_port=options.port, share=False, ssr_mode=False, mcp_server=False,
                enable_monitoring=False, quiet=True, prevent_thread_lock=True, footer_links=[], css=CSS.read_text(),
                theme=theme(gr),
            )  # fmt: skip
        except OSError:
            raise InputError(f"expected a free port, found {options.port} taken; name another by --port") from None
        print(f"open http://127.0.0.1:{options.port} in a browser of this machine; Ctrl+C ends it", flush=True)
        page.block_thread()


class Loaded:
    """The captioners, each loaded when it is first asked for."""

    def __init__(self, device: str | None) -> None:
        self.device = device
        self.loaded: dict[str, Captioner] = {}

    def __call__(self, name: str) -> "Captioner":
        """The captioner of a name, with overlays after plus signs."""
        if name not in self.loaded:
            from earshot.captioner import Captioner

            base, *overlays = name.split("+")
            self.loaded[name] = Captioner.from_pretrained(base, overlays, self.device)
        return self.loaded[name]


def theme(gr: Any) -> Any:
    """Gradio's plain theme with the system's fonts: its own come from the network."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    colours = {  # Gradio's own are too pale to read
        "button_primary_background_fill": "*primary_700",
        "button_primary_background_fill_hover": "*primary_800",
        "button_primary_background_fill_dark": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_800",
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "*neutral_300",
    }
    return gr.themes.Default(primary_hue="sky", neutral_hue="slate", **fonts).set(**colours)


def build(captioner: Callable[[str], "Captioner"], names: Sequence[str], folder: Path) -> Any:
    """The page.

    Args:
        captioner: gives a captioner by its name.
        names: of the captioners to choose among.
        folder: for scenes, which Gradio copies.
    """
    import gradio as gr

    from earshot.app_captions import captions_of, problem
    from miniature.scene import heard_choices, seen_choices, write_scene
    from miniature.vocabulary import SCENES

    def caption(path: str | None, chosen: list[str], seconds: float) -> Iterator[tuple[Any, str]]:
        for audio, text in captions_of(path, chosen, seconds, captioner):
            yield gr.Audio(audio, visible=audio is not None), text

    def scene(heard: list[str], seen: list[str], ground: str, take: float, chosen: list[str], seconds: float) -> Any:
        try:
            path = write_scene(folder, heard, seen, ground, int(take or 0))
        except InputError as error:
            yield gr.Audio(None, visible=False), problem(str(error))
            return
        yield from caption(str(path), chosen, seconds)

    with gr.Blocks(title="earshot", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                chosen = gr.CheckboxGroup(list(names), value=list(names)[:3], label="Captioners")
                with gr.Tab("A file"):
                    file = gr.File(label="Sound or video of any format", height=140, elem_id="file")
                    from_file = gr.Button("Caption the file", variant="primary")
                with gr.Tab("A recording"):
                    recorded = gr.Audio(sources=["microphone"], type="filepath", label="Microphone", buttons=[])
                    from_recording = gr.Button("Caption the recording", variant="primary")
                with gr.Tab("A scene"):
                    heard = gr.CheckboxGroup(heard_choices(), value=["dog", "rain"], label="What sounds")
                    seen = gr.CheckboxGroup(seen_choices(), value=["dog", "tree"], label="What is seen (up to four)")
                    ground = gr.Radio(list(SCENES), value=SCENES[0], label="Where")
                    take = gr.Number(0, label="Take (another number draws it anew)", precision=0, minimum=0)
                    from_scene = gr.Button("Caption the scene", variant="primary")
                seconds = gr.Slider(1, 60, 10, step=1, label="Longer sounds in parts of so many seconds")
            with gr.Column(scale=3, min_width=320):
                sound = gr.Audio(
                    label="What is captioned", interactive=False, type="filepath", buttons=[], visible=False
                )
                results = gr.HTML("<p class='quiet'>Captions come here.</p>", elem_id="results")
        outputs, last = [sound, results], [chosen, seconds]
        settings: dict[str, Any] = {
            "show_progress": "minimal",
            "api_visibility": "private",
            "concurrency_id": "models",
        }
        from_file.click(caption, [file, *last], outputs, **settings)
        from_recording.click(caption, [recorded, *last], outputs, **settings)
        from_scene.click(scene, [heard, seen, ground, take, *last], outputs, **settings)
    return page


if __name__ == "__main__":
    main()
