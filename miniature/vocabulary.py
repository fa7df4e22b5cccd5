"""The things of the miniature world, and the words for them."""

from dataclasses import dataclass

COLOURS = {
    "red": (214, 48, 44),
    "blue": (52, 98, 208),
    "yellow": (240, 200, 48),
    "white": (240, 240, 240),
    "brown": (140, 90, 52),
    "black": (44, 44, 48),
}
SCENES = ("grass", "street", "beach", "snow")


@dataclass(frozen=True)
class Thing:
    """Something that can be seen, heard, or both.

    Attributes:
        seen: its noun in a caption of what is seen; None when it is never in the image.
        heard: its noun phrase in a caption of what is heard; None when it is silent.
        verbs: of its sound, third person and participle.
        colours: that it comes in.
    """

    seen: str | None
    heard: str | None = None
    verbs: tuple[str, str] | None = None
    colours: tuple[str, ...] = ()


THINGS = {
    "bell": Thing("bell", "a bell", ("rings", "ringing"), ("yellow", "red", "black")),
    "drum": Thing("drum", "a drum", ("thumps", "thumping"), ("red", "blue", "white")),
    "dog": Thing("dog", "a dog", ("barks", "barking"), ("brown", "white", "black")),
    "cat": Thing("cat", "a cat", ("meows", "meowing"), ("black", "yellow", "white")),
    "bird": Thing("bird", "a bird", ("chirps", "chirping"), ("blue", "red", "yellow")),
    "car": Thing("car", "a car", ("honks", "honking"), ("red", "blue", "black")),
    "siren": Thing("ambulance", "a siren", ("wails", "wailing"), ("white", "yellow", "red")),
    "clock": Thing("clock", "a clock", ("ticks", "ticking"), ("brown", "white", "blue")),
    "frog": Thing("frog", "a frog", ("croaks", "croaking"), ("brown", "blue", "yellow")),
    "cow": Thing("cow", "a cow", ("moos", "mooing"), ("white", "brown", "black")),
    "fire": Thing("fire", "a fire", ("crackles", "crackling"), ("red", "yellow", "blue")),
    "rain": Thing("cloud", "rain", ("falls", "falling"), ("white", "blue", "black")),
    "tree": Thing("tree", colours=("brown", "red", "yellow")),
    "rock": Thing("rock", colours=("brown", "white", "black")),
    "house": Thing("house", colours=("red", "white", "blue")),
    "flower": Thing("flower", colours=("red", "yellow", "blue")),
    "wind": Thing(None, "wind", ("blows", "blowing")),
    "thunder": Thing(None, "thunder", ("rumbles", "rumbling")),
    "engine": Thing(None, "an engine", ("hums", "humming")),
}
SOUNDING = tuple(name for name, thing in THINGS.items() if thing.seen and thing.heard)
SILENT = tuple(name for name, thing in THINGS.items() if not thing.heard)
OFF_SCREEN = tuple(name for name, thing in THINGS.items() if not thing.seen)


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def without_article(text: str) -> str:
    """The text without the indefinite article it begins with."""
    return text.removeprefix("a ").removeprefix("an ")


def word_list() -> dict[str, dict | list[str]]:
    """The vocabulary in the form that `evaluation.word_scores` reads."""
    heard = {name: (thing.heard.split()[-1], thing.verbs) for name, thing in THINGS.items() if thing.heard}
    seen = {thing.seen for thing in THINGS.values() if thing.seen}
    return {
        "events": {name: {"nouns": [noun], "verbs": list(verbs or ())} for name, (noun, verbs) in heard.items()},
        "visual_words": sorted({*COLOURS, *SCENES, *seen} - {noun for noun, _ in heard.values()}),
    }
